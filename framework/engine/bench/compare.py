"""Two sets of answers to the same images: is the difference real?"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts.metric import Answers, Declaration, Metric, Value
from engine.data.contest import read_predictions, read_truth
from engine.errors import DataError
from engine.evaluate.metrics import Metrics, answers_of, installed_metrics
from engine.evaluate.paired import Pair, paired_difference
from engine.evaluate.statistics import PairedDifference, holm, mcnemar, paired_test

_log = logging.getLogger(__name__)

Right = Mapping[str, Mapping[str, Sequence[bool]]]
"""By data set and image id: right or wrong, under each seed."""


@dataclass(frozen=True)
class SeedAnswers:
    """The answers under one seed to one data set, as metrics read them.

    Attributes:
        ids: of the images, in order.
        answers: in the same order.
    """

    ids: tuple[str, ...]
    answers: Answers


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: for people.
        right: what it got right.
        seeds: under how many seeds.
        metrics: over the data sets, by name.
        declarations: of these metrics.
        answers: by data set, under each seed: what the metrics' paired tests read.
    """

    name: str
    right: Right
    seeds: int = 1
    metrics: Mapping[str, Value] = field(default_factory=dict)
    declarations: Sequence[Declaration] = ()
    answers: Mapping[str, Sequence[SeedAnswers]] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetComparison:
    """On one data set; percent and points.

    Attributes:
        only_a: images that only the first got right (under its first seed).
        only_b: in the same way.
        p: McNemar's exact test between the first seeds.
        chance: of guessing; ``None`` where the classes are not known.
    """

    name: str
    images: int
    a: float
    b: float
    only_a: int
    only_b: int
    p: float
    chance: float | None = None


@dataclass(frozen=True)
class MetricComparison:
    """A metric of both sides, over the data sets.

    Attributes:
        declaration: heading, unit and direction of the metric.
        a: value of the first, with its own interval.
        b: in the same way.
        paired: the difference on the same images with its test; ``None`` where the answers are
            not there, or the metric is not installed or does not apply to them.
        corrected: its p corrected by Holm for the number of metrics; ``None`` without one.
    """

    declaration: Declaration
    a: Value
    b: Value
    paired: PairedDifference | None = None
    corrected: float | None = None

    @property
    def difference(self) -> float:
        """``a`` minus ``b``, in the metric's unit."""
        return self.a.value - self.b.value

    @property
    def better(self) -> str:
        """``a`` or ``b``, by the metric's direction; empty where both are equal."""
        if self.difference == 0:
            return ""
        return "a" if (self.difference > 0) == self.declaration.higher_is_better else "b"

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the difference, ``None`` where there is none."""
        if self.paired is None or math.isnan(self.paired.low):
            return None
        return self.paired.low, self.paired.high

    @property
    def p(self) -> float | None:
        """p of no difference, of this metric by itself; ``None`` where it is not known."""
        return None if self.paired is None or math.isnan(self.paired.p) else self.paired.p

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "heading": self.declaration.heading, "unit": self.declaration.unit,
            "higher_is_better": self.declaration.higher_is_better,
            "a": asdict(self.a), "b": asdict(self.b), "difference": self.difference,
            "better": self.better or None, "interval": self.interval, "p": self.p,
            "p_corrected": self.corrected,
        }  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """The difference of the mean accuracies, a minus b, and every metric that both sides have."""

    a: Side
    b: Side
    datasets: tuple[DatasetComparison, ...]
    mean: PairedDifference
    metrics: tuple[MetricComparison, ...] = ()

    @property
    def real(self) -> bool:
        """Whether the difference is significant at 5 %: one pair, so nothing to correct for."""
        return self.mean.p < 0.05

    def verdict(self) -> str:
        """In one sentence."""
        ahead, behind = (self.a, self.b) if self.mean.value >= 0 else (self.b, self.a)
        points = f"{abs(self.mean.value):.2f} points"
        if self.real:
            return f"Real: {ahead.name} is {points} ahead of {behind.name} (p = {self.mean.p:.2g})."
        return (
            f"A tie: {ahead.name} is {points} ahead of {behind.name}, which chance alone would"
            f" often give (p = {self.mean.p:.2g})."
        )

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "a": self.a.name, "b": self.b.name, "seeds": [self.a.seeds, self.b.seeds],
            "datasets": [vars(each) for each in self.datasets],
            "metrics": {each.declaration.name: each.to_json() for each in self.metrics},
            "difference": self.mean.value, "interval": [self.mean.low, self.mean.high],
            "p": self.mean.p, "real": self.real, "verdict": self.verdict(),
        }  # fmt: skip


def side_of_predictions(path: Path, truth: Path) -> Side:
    """A contest's file of predictions against the right answers; a gap counts as wrong.

    Raises:
        DataError: a file is missing or not in its format, or they are of different data.
    """
    from engine.evaluate.scores import score

    labels, answers = read_truth(truth), read_predictions(path)
    found = score(labels, answers)  # reports unknown data sets, images and classes
    right = {
        name: {image: [answers.get(name, {}).get(image) == label] for image, label in rows.items()}
        for name, rows in labels.items()
    }
    kept = {}
    for name, rows in labels.items():
        given = answers.get(name, {})
        # Numbers stand for the classes: a file of predictions does not name them.
        count = 1 + max([*rows.values(), *given.values()])
        top = [[given[image]] if image in given else [] for image in rows]
        made = answers_of([str(i) for i in range(count)], list(rows.values()), top)
        kept[name] = [SeedAnswers(tuple(rows), made)]
    return Side(
        str(path), right, metrics=found.metrics, declarations=found.declarations, answers=kept
    )


def compare(a: Side, b: Side, *, draws: int = 10_000, metrics: Metrics | None = None) -> Compared:
    """Compare two sides on the images that they share; all of them must be shared.

    Args:
        a: the first side.
        b: the second one.
        draws: of the bootstrap under the accuracies.
        metrics: those that can be tested; ``None``: every installed one.

    Raises:
        DataError: they answered different data sets or different images.
    """
    if set(a.right) != set(b.right):
        raise DataError(
            f"{a.name} answered {', '.join(a.right)}; {b.name} answered {', '.join(b.right)}",
            hint="a paired comparison needs the same data sets on both sides",
        )
    ours, theirs, found = [], [], []
    for name, rows in a.right.items():
        others = b.right[name]
        apart = set(rows) ^ set(others)
        if apart:
            raise DataError(
                f"data set `{name}`: {len(apart):,} images were answered by one side alone, the"
                f" first is `{min(apart)}`",
                hint="a paired comparison needs the same images on both sides",
            )
        x = _array([rows[image] for image in rows])
        y = _array([others[image] for image in rows])
        ours.append(x)
        theirs.append(y)
        first, second = x[0], y[0]
        found.append(
            DatasetComparison(
                name=name, images=len(rows), a=100 * float(x.mean()), b=100 * float(y.mean()),
                only_a=int((first & ~second).sum()), only_b=int((second & ~first).sum()),
                p=mcnemar(first, second), chance=_chance(a.answers.get(name)),
            )
        )  # fmt: skip
    compared = _metrics(a, b, installed_metrics() if metrics is None else metrics)
    return Compared(a, b, tuple(found), paired_test(ours, theirs, draws=draws), compared)


def _chance(answers: Sequence[SeedAnswers] | None) -> float | None:
    classes = answers[0].answers.classes if answers else ()
    return 100 / len(classes) if classes else None


def _metrics(a: Side, b: Side, installed: Metrics) -> tuple[MetricComparison, ...]:
    """Every metric that both sides have, with its paired test where the answers are there."""
    pairs = [_pair(a.answers[name], b.answers[name]) for name in a.answers if name in b.answers]
    found = [
        MetricComparison(
            each, a.metrics[each.name], b.metrics[each.name],
            _tested(installed.get(each.name), each.name, pairs),
        )
        for each in a.declarations
        if each.name in a.metrics and each.name in b.metrics
    ]  # fmt: skip
    tested = [each for each in found if each.p is not None]
    corrected = dict(
        zip(
            [each.declaration.name for each in tested],
            holm([each.p for each in tested if each.p is not None]),
            strict=True,
        )
    )
    return tuple(replace(each, corrected=corrected.get(each.declaration.name)) for each in found)


def _tested(metric: Metric | None, name: str, pairs: Sequence[Pair]) -> PairedDifference | None:
    if metric is None or not pairs:
        return None
    try:
        return paired_difference(metric, pairs)
    except Exception as error:  # a third party's metric may raise anything
        _log.warning("metric `%s` has no paired test: %s: %s", name, type(error).__name__, error)
        return None


def _pair(a: Sequence[SeedAnswers], b: Sequence[SeedAnswers]) -> Pair:
    """The answers of both sides in the order of the first."""
    ids = a[0].ids
    return Pair(
        tuple(_in_order(each, ids) for each in a), tuple(_in_order(each, ids) for each in b)
    )


def _in_order(given: SeedAnswers, ids: tuple[str, ...]) -> Answers:
    if given.ids == ids:
        return given.answers
    place = {image: row for row, image in enumerate(given.ids)}
    rows = np.array([place[image] for image in ids if image in place], np.int64)
    # Retrieval ranks have an order of their own, which cannot be followed here.
    return replace(given.answers.take(rows), retrieval=None)


def _array(rows: Sequence[Sequence[bool]]) -> NDArray[np.bool_]:
    """[images][seeds] -> [seeds, images]."""
    return np.array(rows, dtype=np.bool_).T
