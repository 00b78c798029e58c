"""Scores of zero-shot classification. numpy only: scoring files needs no model and no torch.

Conventions:

- Accuracies and recalls are in percent and never rounded.
- An image of the truth without an answer counts as wrong, and is counted in ``missing``.
- The contest's score is the plain mean of the data sets' accuracies (yandex/mlcup).
- 95 % interval of one accuracy: Wilson's score interval (Wilson 1927; Brown, Cai & DasGupta 2001,
  Statistical Science 16:101). It needs no large sample and never leaves 0..100.
- 95 % interval of the mean over data sets: Wilson's limits combined by the method of variance
  estimates recovery, MOVER (Zou & Donner 2008, Statistics in Medicine 27:1693). It speaks of new
  images of the *same* data sets, not of new data sets; for one data set it is Wilson's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.contest import MAX_CLASSES
from engine.errors import DataError, did_you_mean
from engine.terminal import listed, one_line

Labels = Mapping[str, Mapping[str, int]]
"""The contest's truth or predictions: ``{data set: {image id: class index}}``."""

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

METHOD = (
    "95 % intervals: Wilson for a data set, Wilson combined by MOVER (Zou & Donner 2008) for the"
    " mean over the same data sets"
)


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in percent."""

    low: float
    high: float


@dataclass(frozen=True)
class DatasetScore:
    """The score of one data set.

    Attributes:
        name: of the data set.
        images: images of the truth, each counted below.
        classes: classes that an answer could name.
        correct: images answered rightly.
        missing: images without an answer (broken ones, say); they count as wrong.
        accuracy: ``100 * correct / images``.
        interval: 95 %, Wilson.
        top5: percent of images whose class is among the five best answers; ``None`` where only the
            best answer is known, or where there are at most five classes, so that it says nothing.
        recall: of each class in percent; ``None`` for a class without an image: not defined.
        mean_recall: the mean over the classes that have an image.
    """

    name: str
    images: int
    classes: int
    correct: int
    missing: int
    accuracy: float
    interval: Interval
    top5: float | None
    recall: tuple[float | None, ...]
    mean_recall: float

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON types; the interval as ``[low, high]``."""
        interval = [self.interval.low, self.interval.high]
        return {**asdict(self), "interval": interval, "recall": list(self.recall)}


@dataclass(frozen=True)
class Score:
    """The score over data sets.

    Attributes:
        datasets: each one's, in the order of the truth.
        accuracy: the contest's score: the plain mean of the data sets' accuracies.
        interval: 95 %, MOVER.
        top5: the mean of the data sets' top-5; ``None`` unless every one has it.
        mean_recall: the mean of the data sets' mean recalls.
    """

    datasets: tuple[DatasetScore, ...]
    accuracy: float
    interval: Interval
    top5: float | None
    mean_recall: float

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        return {
            "accuracy": self.accuracy,
            "interval": [self.interval.low, self.interval.high],
            "top5": self.top5,
            "mean_recall": self.mean_recall,
            "method": METHOD,
            "datasets": [dataset.to_json() for dataset in self.datasets],
        }


def wilson(correct: int, images: int, z: float = Z95) -> Interval:
    """Wilson's score interval of ``correct`` out of ``images``, in percent.

    Raises:
        ValueError: no images, or ``correct`` outside 0..images.
    """
    if images < 1 or not 0 <= correct <= images:
        raise ValueError(f"{correct} correct of {images} images is no count")
    share = correct / images
    spread = z * z / images
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / images + spread / (4 * images))
    # At 0 and at `images` one limit is exactly 0 or 1, which rounding would miss by 1e-17.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == images else centre + half
    return Interval(100 * low, 100 * high)


def mover(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The interval of the plain mean of independent values, from the interval of each (MOVER)."""
    count = len(values)
    mean = math.fsum(values) / count
    pairs = list(zip(values, intervals, strict=True))
    down = math.sqrt(math.fsum((value - each.low) ** 2 for value, each in pairs)) / count
    up = math.sqrt(math.fsum((each.high - value) ** 2 for value, each in pairs)) / count
    return Interval(mean - down, mean + up)


def class_recall(
    labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int
) -> tuple[float | None, ...]:
    """Recall of each class in percent, ``None`` for a class without an image.

    Args:
        labels: [N], the true classes, each below ``classes``.
        answers: [N], the answers; -1 for none.
        classes: their number.
    """
    images = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[labels == answers], minlength=classes)
    return tuple(
        100 * int(hit) / int(count) if count else None
        for hit, count in zip(hits, images, strict=True)
    )


def score_dataset(
    name: str,
    truth: Mapping[str, int],
    top: Mapping[str, Sequence[int]],
    classes: int | None = None,
    *,
    ranked: bool = False,
) -> DatasetScore:
    """Score one data set.

    Args:
        name: of the data set.
        truth: the class of each image.
        top: the answers for each image, best first (at least one each).
        classes: number of classes; ``None``: as many as the largest index named needs.
        ranked: ``top`` holds the five best answers (all, where there are fewer classes), so that
            top-5 can be told.

    Raises:
        DataError: no image; an answer for an image that the truth does not know; a class index
            that does not exist.
    """
    if not truth:
        raise DataError(f"the truth of data set `{one_line(name)}` names no image")
    strangers = [image for image in top if image not in truth]
    if strangers:
        raise DataError(
            f"data set `{one_line(name)}`: {len(strangers)} predicted images are not in the truth,"
            f" the first is `{one_line(strangers[0])}`{did_you_mean(strangers[0], truth)}",
            hint="predictions and truth must be of the same data",
        )
    given = {image: answer[0] for image, answer in top.items()}
    classes = _classes_of(name, [*truth.values(), *given.values()], classes)
    labels = np.fromiter(truth.values(), np.int64, len(truth))
    answers = np.fromiter((given.get(image, -1) for image in truth), np.int64, len(truth))
    correct = int((labels == answers).sum())
    hits = sum(label in top[image][:5] for image, label in truth.items() if image in top)
    recall = class_recall(labels, answers, classes)
    defined = [value for value in recall if value is not None]
    return DatasetScore(
        name=name,
        images=len(truth),
        classes=classes,
        correct=correct,
        missing=len(truth) - len(top),
        accuracy=100 * correct / len(truth),
        interval=wilson(correct, len(truth)),
        top5=100 * hits / len(truth) if ranked and classes > 5 else None,
        recall=recall,
        mean_recall=math.fsum(defined) / len(defined),
    )


def _classes_of(name: str, indices: Sequence[int], classes: int | None) -> int:
    """The number of classes, every index checked against it."""
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise DataError(f"data set `{one_line(name)}`: {index!r} is no class index")
    lowest, highest = min(indices), max(indices)
    if lowest < 0 or highest >= (MAX_CLASSES if classes is None else classes):
        there = f"there are {classes} classes, numbered from 0"
        most = f"{MAX_CLASSES - 1:,} is the largest that is allowed"
        index = lowest if lowest < 0 else highest
        raise DataError(
            f"data set `{one_line(name)}`: class index {index} does not exist"
            f" ({most if classes is None else there})"
        )
    return int(highest) + 1 if classes is None else classes


def combine(datasets: Sequence[DatasetScore]) -> Score:
    """The scores of data sets -> the contest's score.

    Raises:
        DataError: there is none.
    """
    if not datasets:
        raise DataError("there is no data set to score")
    accuracies = [each.accuracy for each in datasets]
    top5 = [each.top5 for each in datasets if each.top5 is not None]
    return Score(
        datasets=tuple(datasets),
        accuracy=math.fsum(accuracies) / len(datasets),
        interval=mover(accuracies, [each.interval for each in datasets]),
        top5=math.fsum(top5) / len(top5) if len(top5) == len(datasets) else None,
        mean_recall=math.fsum(each.mean_recall for each in datasets) / len(datasets),
    )


def score(truth: Labels, predictions: Labels) -> Score:
    """Score the contest's files: every data set of the truth, whether predicted or not.

    Raises:
        DataError: the truth is empty, or the predictions name a data set or an image that it does
            not know, or a negative class.
    """
    if not truth:
        raise DataError("the truth names no data set")
    for name in predictions:
        if name not in truth:
            raise DataError(
                f"predictions for data set `{one_line(name)}`, which the truth does not know"
                f"{did_you_mean(name, truth)}",
                hint=f"the truth knows: {listed(truth)}",
            )
    return combine(
        [
            score_dataset(
                name, labels, {image: (i,) for image, i in predictions.get(name, {}).items()}
            )
            for name, labels in truth.items()
        ]
    )
