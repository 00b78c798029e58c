"""Runs a predictor over data sets: answers, broken images, scores where labels are known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.contracts.dataset import Dataset, Record
from engine.core.progress import Progress, silent
from engine.errors import DataError
from engine.evaluate.images import Broken, ImageBatch, ImageRows, read_batches
from engine.evaluate.names import encodable
from engine.evaluate.predictor import Classifier, Predictor
from engine.evaluate.scores import DatasetScore, Labels, Score, combine, score_dataset
from engine.evaluate.vectors import without_direction
from engine.evaluate.zero_shot import Probabilities

if TYPE_CHECKING:
    from engine.evaluate.features import FeatureCache

TOP = 5
"""Answers kept for each image."""


@dataclass(frozen=True)
class EvaluatedRow:
    """One image's answers.

    Attributes:
        index: its row in the data set.
        record: its id, and its label where known.
        classes: class indices, best first, as many as were asked for.
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
        tower_rows: images that ran through the vision tower; fewer than ``rows`` where a cache
            had some.
        vectors: [rows, J] float32, the images' embeddings, each of length 1, in the order of
            ``rows``; ``None`` where they were not asked for.
        notes: what a user should know, in words (classes that the model cannot tell apart, say).
        kind: what the probabilities are, see :data:`engine.evaluate.zero_shot.Probabilities`.
    """

    dataset: Dataset
    rows: list[EvaluatedRow]
    broken: list[Broken]
    asked: int
    seconds: float
    tower_rows: int = 0
    vectors: Tensor | None = None
    notes: list[str] = field(default_factory=list)
    kind: Probabilities = "softmax"

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

    def score(
        self, answers: Mapping[str, int] | None = None, *, intervals: bool = True
    ) -> DatasetScore | None:
        """The score over the labelled images, ``None`` without any.

        Broken and missing images count as wrong; images without a label do not count.

        Args:
            answers: as for :meth:`truth`.
            intervals: also compute the metrics' 95 % intervals.
        """
        truth = self.truth(answers)
        if not truth:
            return None
        rows = [row for row in self.rows if row.record.id in truth]
        return score_dataset(
            self.dataset.name,
            truth,
            {row.record.id: row.classes for row in rows},
            self.dataset.classes,
            ranked=True,
            probabilities={row.record.id: row.probabilities for row in rows},
            intervals=intervals,
        )

    def to_json(self) -> dict[str, Any]:
        """A summary without the answers."""
        return {
            "name": self.dataset.name,
            "images": self.asked,
            "answered": len(self.rows),
            "classes": len(self.dataset.classes),
            "seconds": self.seconds,
            "tower_rows": self.tower_rows,
            "probabilities": self.kind,
            "broken": [{"id": each.id, "reason": each.reason} for each in self.broken],
            "notes": self.notes,
        }


def run(
    predictor: Predictor,
    dataset: Dataset,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    features: FeatureCache | None = None,
    keep_vectors: bool = False,
    refuse_alike: bool = True,
    probabilities: Probabilities = "softmax",
    top: int = TOP,
    progress: Progress = silent,
) -> DatasetRun:
    """Classify a data set's images into its classes.

    Args:
        predictor: the model.
        dataset: images with classes.
        batch_size: images that run through the model at once; on a CPU 16 stay in its caches and
            cost some 8 % less than 32.
        workers: threads that decode; ``None``: one a core, at most 8.
        limit: only the first so many images.
        features: where vision features are kept; ``None``: the tower runs for every image.
        keep_vectors: also give the images' embeddings.
        refuse_alike: raise where the model gives all classes one vector; else that is a note.
        probabilities: of the answers; the metrics of calibration use them.
        top: answers kept for each image.
        progress: called after each batch.

    Raises:
        DataError: no image, no class, two images of one id, or not a single readable image; an
            embedding that is not finite; see ``refuse_alike``; sigmoid probabilities of a model
            without a bias.
    """
    predictor.check_probabilities(probabilities)
    started = time.perf_counter()
    total = len(dataset) if limit is None else min(limit, len(dataset))
    dataset, notes = encodable(dataset, total)
    _check_dataset(dataset, total)
    progress(dataset.name, 0, total)
    # Not `classifier()`: a data set may name two classes alike, and they then tie.
    classes = predictor.class_vectors(dataset.classes)
    alike = predictor.notes_of(dataset.classes, classes, refuse=refuse_alike)
    classifier = Classifier(predictor, tuple(dataset.classes), classes)
    before = features.computed if features else 0
    rows: list[EvaluatedRow] = []
    broken: list[Broken] = []
    kept: list[Tensor] = []
    zero: list[str] = []
    for batch, vectors in encode_batches(
        predictor, dataset, batch_size=batch_size, workers=workers, limit=limit, features=features
    ):
        broken += batch.broken
        rows += _answers(classifier, batch, vectors, top, probabilities)
        zero += [batch.read[i].record.id for i in without_direction(vectors)]
        if keep_vectors:
            kept.append(vectors)
        progress(dataset.name, len(rows) + len(broken), total)
    _check_rows(dataset, rows, broken, zero)
    return DatasetRun(
        dataset,
        rows,
        broken,
        total,
        time.perf_counter() - started,
        tower_rows=features.computed - before if features else len(rows),
        vectors=torch.cat(kept) if keep_vectors else None,
        notes=[f"data set `{dataset.name}`: {note}" for note in (*notes, *alike, *_zero(zero))],
        kind=probabilities,
    )


def encode_batches(
    predictor: Predictor,
    rows: ImageRows,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
    features: FeatureCache | None = None,
) -> Iterator[tuple[ImageBatch, Tensor]]:
    """Read and encode images in order; the arguments are those of :func:`run`.

    Yields:
        Each batch with the embeddings of those that could be read, [B, J] float32, rows of
        length 1.
    """
    tower = features.tower(predictor) if features else None
    preprocess = predictor.model.vision.preprocess
    empty = torch.empty(0, predictor.model.embed_dim)
    for batch in read_batches(
        rows, preprocess, batch_size=batch_size, workers=workers, limit=limit
    ):
        pixels = [each.pixels for each in batch.read]
        names = [each.record.id for each in batch.read]
        yield batch, predictor.encode_pixels(pixels, names, tower) if pixels else empty


def _answers(
    classifier: Classifier, batch: ImageBatch, vectors: Tensor, top: int, kind: Probabilities
) -> Iterator[EvaluatedRow]:
    if not batch.read:
        return
    probabilities, indices = classifier.best(vectors, top, kind)
    answers = zip(batch.read, indices.tolist(), probabilities.tolist(), strict=True)
    for each, classes, chances in answers:
        yield EvaluatedRow(each.index, each.record, tuple(classes), tuple(chances))


def _check_dataset(dataset: Dataset, total: int) -> None:
    """What is known before the work begins."""
    if total == 0:
        raise DataError(f"data set `{dataset.name}` has no image")
    if not dataset.classes:
        raise DataError(
            f"data set `{dataset.name}` has no classes", hint="name them in its classes.json"
        )
    seen: set[str] = set()
    for index in range(total):
        name = dataset.record(index).id
        if name in seen:
            raise DataError(f"data set `{dataset.name}`: two images have the id `{name}`")
        seen.add(name)


def _check_rows(
    dataset: Dataset, rows: Sequence[EvaluatedRow], broken: Sequence[Broken], zero: Sequence[str]
) -> None:
    if not rows:
        first = broken[0]
        raise DataError(
            f"data set `{dataset.name}`: not one of {len(broken)} images can be read; the first,"
            f" `{first.id}`: {first.reason}"
        )
    if len(zero) == len(rows) > 1:
        raise DataError(
            f"data set `{dataset.name}`: the embedding of every image is zero, so that the first"
            " class would be the answer to all",
            hint="the weights of the vision tower have most likely collapsed, or are all zero",
        )


def _zero(zero: Sequence[str]) -> list[str]:
    if not zero:
        return []
    return [
        f"the embedding of {len(zero):,} images is zero (the first: `{zero[0]}`): the first class"
        " is their answer, whatever they show"
    ]


def score_runs(
    runs: Sequence[DatasetRun], truth: Labels | None = None, *, intervals: bool = True
) -> Score | None:
    """The score over the data sets with labels; ``None`` where no image has one.

    Args:
        runs: what was predicted.
        truth: the right answers by data set; ``None``: the data sets' own labels.
        intervals: also compute the metrics' 95 % intervals; an evaluation within training needs
            none.
    """
    scores = []
    for each in runs:
        answers = None if truth is None else truth.get(each.dataset.name, {})
        found = each.score(answers, intervals=intervals)
        if found is not None:
            scores.append(found)
    return combine(scores) if scores else None
