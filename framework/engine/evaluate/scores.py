"""Scores of zero-shot classification. numpy only: scoring files needs no model and no torch.

Conventions:

- Every number of the result record is a metric's, see ``engine.contracts.metric``: accuracy, recall
  and so on are plugins, computed wherever they apply. Values are never rounded.
- An image of the truth without an answer counts as wrong, and is counted in ``missing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts.metric import PRIMARY, Declaration, RetrievalRanks, Value
from engine.data.contest import MAX_CLASSES
from engine.errors import DataError, did_you_mean
from engine.evaluate.metrics import (
    Metrics,
    answers_of,
    combine_values,
    declarations_of,
    installed_metrics,
    measure,
)
from engine.printable import listed, one_line

Labels = Mapping[str, Mapping[str, int]]
"""The contest's truth or predictions: ``{data set: {image id: class index}}``."""

METHOD = (
    "95 % intervals: Wilson for the share of images answered rightly on a data set, combined by"
    " MOVER (Zou & Donner 2008) for the mean over the same data sets; others by the bootstrap"
)


@dataclass(frozen=True)
class DatasetScore:
    """The score of one data set.

    Attributes:
        name: of the data set.
        images: images of the truth, each counted below.
        classes: classes that an answer could name.
        correct: images answered rightly.
        missing: images without an answer (broken ones, say); they count as wrong.
        metrics: every metric that applies, by name.
        recall: of each class in percent; ``None`` for a class without an image: not defined.
    """

    name: str
    images: int
    classes: int
    correct: int
    missing: int
    metrics: Mapping[str, Value]
    recall: tuple[float | None, ...]

    @property
    def accuracy(self) -> float:
        """``100 * correct / images``."""
        return 100 * self.correct / self.images

    @property
    def chance(self) -> float:
        """What guessing among the classes reaches, in percent."""
        return 100 / self.classes

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON types; a metric as ``{"value", "low", "high"}``."""
        metrics = {name: asdict(value) for name, value in self.metrics.items()}
        lists = {"metrics": metrics, "recall": list(self.recall)}
        return {**vars(self), "chance": self.chance, **lists}


@dataclass(frozen=True)
class Score:
    """The score over data sets.

    Attributes:
        datasets: each one's, in the order of the truth.
        metrics: over the data sets, by name; each metric combines its values by its own rule.
        declarations: what the metrics say of themselves: heading, unit, direction.
    """

    datasets: tuple[DatasetScore, ...]
    metrics: Mapping[str, Value]
    declarations: tuple[Declaration, ...]

    @property
    def accuracy(self) -> float:
        """The contest's score: the plain mean of the data sets' accuracies, in percent."""
        found = self.metrics.get(PRIMARY)
        if found is None:
            return sum(each.accuracy for each in self.datasets) / len(self.datasets)
        return found.value

    @property
    def chance(self) -> float:
        """The accuracy of guessing: the plain mean of the data sets' own, in percent."""
        return sum(each.chance for each in self.datasets) / len(self.datasets)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON types; declarations by the name of their metric."""
        return {
            "chance": self.chance,
            "metrics": {name: asdict(value) for name, value in self.metrics.items()},
            "declarations": {each.name: asdict(each) for each in self.declarations},
            "method": METHOD,
            "datasets": [dataset.to_json() for dataset in self.datasets],
        }


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
    classes: Sequence[str] | int | None = None,
    *,
    ranked: bool = False,
    probabilities: Mapping[str, Sequence[float]] | None = None,
    retrieval: RetrievalRanks | None = None,
    metrics: Metrics | None = None,
    intervals: bool = True,
) -> DatasetScore:
    """Score one data set.

    Args:
        name: of the data set.
        truth: the class of each image.
        top: the answers for each image, best first (at least one each).
        classes: names of the classes, or their number; ``None``: as many as the largest index
            named needs.
        ranked: ``top`` holds the five best answers (all, where there are fewer classes); without
            it only the best one counts.
        probabilities: of the answers, where they are known.
        retrieval: where retrieval put the right candidates, where the data set has queries.
        metrics: what to compute; ``None``: every installed metric.
        intervals: also compute the metrics' 95 % intervals.

    Raises:
        DataError: no image; an answer for an image that the truth does not know; a class index
            that does not exist.
    """
    if not truth:
        raise DataError(f"the truth of data set `{one_line(name)}` names no image")
    unknown = [image for image in top if image not in truth]
    if unknown:
        raise DataError(
            f"data set `{one_line(name)}`: {len(unknown)} predicted images are not in the truth,"
            f" the first is `{one_line(unknown[0])}`{did_you_mean(unknown[0], truth)}",
            hint="predictions and truth must be of the same data",
        )
    given = {image: answer[0] for image, answer in top.items()}
    known = classes if classes is None or isinstance(classes, int) else len(classes)
    count = _classes_of(name, [*truth.values(), *given.values()], known)
    names = tuple(map(str, range(count))) if isinstance(classes, int | None) else tuple(classes)
    best = [top.get(image, ()) for image in truth]
    if not ranked:
        best = [answers[:1] for answers in best]
    chances = None
    if probabilities is not None:
        chances = [probabilities.get(image, ()) for image in truth]
    answers = answers_of(names, list(truth.values()), best, chances, retrieval)
    return DatasetScore(
        name=name,
        images=len(truth),
        classes=count,
        correct=int((answers.labels == answers.best).sum()),
        missing=len(truth) - len(top),
        metrics=measure(
            answers, installed_metrics() if metrics is None else metrics, intervals=intervals
        ),
        recall=class_recall(answers.labels, answers.best, count),
    )


def _classes_of(name: str, indices: Sequence[int], classes: int | None) -> int:
    """The number of classes, every index checked against it."""
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise DataError(f"data set `{one_line(name)}`: {index!r} is not a class index")
    lowest, highest = min(indices), max(indices)
    if lowest < 0 or highest >= (MAX_CLASSES if classes is None else classes):
        there = f"there are {classes} classes, numbered from 0"
        maximum = f"{MAX_CLASSES - 1:,} is the largest that is allowed"
        index = lowest if lowest < 0 else highest
        raise DataError(
            f"data set `{one_line(name)}`: class index {index} does not exist"
            f" ({maximum if classes is None else there})"
        )
    return int(highest) + 1 if classes is None else classes


def combine(datasets: Sequence[DatasetScore], metrics: Metrics | None = None) -> Score:
    """The scores of data sets -> the score over them.

    Args:
        datasets: at least one.
        metrics: what to combine; ``None``: every installed metric.

    Raises:
        DataError: there is no data set.
    """
    if not datasets:
        raise DataError("there is no data set to score")
    metrics = installed_metrics() if metrics is None else metrics
    found = combine_values([each.metrics for each in datasets], metrics)
    shown = {name for each in datasets for name in each.metrics} | found.keys()
    return Score(
        datasets=tuple(datasets),
        metrics=found,
        declarations=tuple(each for each in declarations_of(metrics) if each.name in shown),
    )


def score(
    truth: Labels, predictions: Labels, classes: Mapping[str, Sequence[str]] | None = None
) -> Score:
    """Score the contest's files: every data set of the truth, whether predicted or not.

    Args:
        truth: the right answers.
        predictions: the answers given.
        classes: names of the classes by data set; where one is missing, there are as many as the
            largest index in both files needs.

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
                name,
                labels,
                {image: (i,) for image, i in predictions.get(name, {}).items()},
                (classes or {}).get(name),
            )
            for name, labels in truth.items()
        ]
    )
