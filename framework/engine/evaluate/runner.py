"""Runs a predictor over data sets: answers, broken images, scores where labels are known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.contracts.dataset import Dataset, Record
from engine.errors import DataError
from engine.evaluate.images import Broken, read_batches
from engine.evaluate.predictor import Classifier, Predictor
from engine.evaluate.scores import DatasetScore, Labels, Score, combine, score_dataset

TOP = 5
"""Answers kept for each image."""


@dataclass(frozen=True)
class Row:
    """One image's answers.

    Attributes:
        index: its row in the data set.
        record: its id, and its label where known.
        classes: class indices, best first, at most :data:`TOP`.
        probabilities: of these classes, 0..1.
    """

    index: int
    record: Record
    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class DatasetRun:
    """What a predictor said about one data set.

    Attributes:
        dataset: the data set.
        rows: an answer for each image that could be read, in the data set's order.
        broken: the images that could not.
        asked: rows that were asked for (``limit``); the answered and the broken ones.
        seconds: wall-clock time, class vectors included.
        notes: what a user should know, in words (class names that are the same, say).
    """

    dataset: Dataset
    rows: list[Row]
    broken: list[Broken]
    asked: int
    seconds: float
    notes: list[str] = field(default_factory=list)

    @property
    def predictions(self) -> dict[str, int]:
        """``{image id: class index}``, in the data set's order."""
        return {row.record.id: row.classes[0] for row in self.rows}

    def truth(self, answers: Mapping[str, int] | None = None) -> dict[str, int]:
        """The known labels by image id.

        Args:
            answers: the right answers where they lie in a file of their own; ``None``: the data
                set's labels. Images named there that were not on disk count as unanswered; after
                a limited run only the rows that were asked for count.
        """
        records = [self.dataset.record(index) for index in range(self.asked)]
        if answers is None:
            return {each.id: each.label for each in records if each.label is not None}
        if self.asked < len(self.dataset):
            return {each.id: answers[each.id] for each in records if each.id in answers}
        return dict(answers)

    def unlabelled(self, answers: Mapping[str, int] | None = None) -> int:
        """Rows that were asked for and have no label."""
        truth = self.truth(answers)
        return sum(self.dataset.record(index).id not in truth for index in range(self.asked))

    def score(self, answers: Mapping[str, int] | None = None) -> DatasetScore | None:
        """The score over the labelled images, ``None`` without any.

        Broken and missing images count as wrong; images without a label do not count.
        """
        truth = self.truth(answers)
        if not truth:
            return None
        top = {row.record.id: row.classes for row in self.rows if row.record.id in truth}
        classes = len(self.dataset.classes)
        return score_dataset(self.dataset.name, truth, top, classes, ranked=True)

    def to_json(self) -> dict[str, Any]:
        """A summary without the answers."""
        return {
            "name": self.dataset.name,
            "images": self.asked,
            "answered": len(self.rows),
            "classes": len(self.dataset.classes),
            "seconds": self.seconds,
            "broken": [{"id": each.id, "reason": each.reason} for each in self.broken],
            "notes": self.notes,
        }


Progress = Callable[[str, int, int], None]
"""Called with the data set's name, the rows done and the rows in all."""


def run(
    predictor: Predictor,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    workers: int | None = None,
    limit: int | None = None,
    progress: Progress = lambda name, done, total: None,
) -> DatasetRun:
    """Classify a data set's images into its classes.

    Args:
        predictor: the model.
        dataset: images with classes.
        batch_size: images that run through the model at once.
        workers: threads that decode; ``None``: one a core, at most 8.
        limit: only the first so many images.
        progress: told after each batch.

    Raises:
        DataError: no image, no class, two images of one id, or not a single readable image.
    """
    started = time.perf_counter()
    total = len(dataset) if limit is None else min(limit, len(dataset))
    if total == 0:
        raise DataError(f"data set `{dataset.name}` has no image")
    if not dataset.classes:
        raise DataError(
            f"data set `{dataset.name}` has no classes", hint="name them in its classes.json"
        )
    progress(dataset.name, 0, total)
    # Not `classifier()`: a data set may name two classes alike, and they then tie.
    vectors = predictor.class_vectors(dataset.classes)
    classifier = Classifier(predictor, dataset.classes, vectors)
    result = DatasetRun(dataset, [], [], total, 0.0, _notes(dataset))
    done = 0
    preprocess = predictor.model.vision.preprocess
    for batch in read_batches(
        dataset, preprocess, batch_size=batch_size, workers=workers, limit=limit
    ):
        result.broken.extend(batch.broken)
        if batch.read:
            image_vectors = predictor.encode_pixels([each.pixels for each in batch.read])
            probabilities, indices = classifier.best(image_vectors, TOP)
            for each, classes, chances in zip(
                batch.read, indices.tolist(), probabilities.tolist(), strict=True
            ):
                result.rows.append(Row(each.index, each.record, tuple(classes), tuple(chances)))
        done += len(batch)
        progress(dataset.name, done, total)
    if not result.rows:
        first = result.broken[0]
        raise DataError(
            f"data set `{dataset.name}`: not one of {total} images can be read; the first,"
            f" `{first.id}`: {first.reason}"
        )
    ids = Counter(row.record.id for row in result.rows)
    twice = [each for each, count in ids.items() if count > 1]
    if twice:
        raise DataError(f"data set `{dataset.name}`: two images have the id `{twice[0]}`")
    return DatasetRun(
        dataset, result.rows, result.broken, total, time.perf_counter() - started, result.notes
    )


def _notes(dataset: Dataset) -> list[str]:
    alike = [name for name, count in Counter(dataset.classes).items() if count > 1]
    if not alike:
        return []
    return [
        f"data set `{dataset.name}`: classes of the same name ({', '.join(alike[:5])}): the first"
        " of them is always the answer"
    ]


def score_runs(runs: Sequence[DatasetRun], truth: Labels | None = None) -> Score | None:
    """The score over the data sets with labels; ``None`` where no image has one.

    Args:
        runs: what was predicted.
        truth: the right answers by data set; ``None``: the data sets' own labels.
    """
    scores = []
    for each in runs:
        found = each.score(None if truth is None else truth.get(each.dataset.name, {}))
        if found is not None:
            scores.append(found)
    return combine(scores) if scores else None
