"""What metrics promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from engine.contracts.metric import NEEDS, Answers, Metric, RetrievalRanks, Value
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_METRIC = "engine.contracts.metric.Metric"
_CLASSES = ("кошка", "собака", "лиса", "заяц", "волк", "ёж", "барсук")


class MetricSubject(Subject):
    """A metric."""

    contract = _METRIC

    def make(self) -> Metric:
        """A new one."""
        metric: Metric = self.target(self.settings)
        return metric

    def samples(self, metric: Metric) -> Iterator[tuple[str, Answers]]:
        """Answers of many sorts to which the metric applies, each with words for it."""
        for what, answers in _samples():
            if metric.applies(answers):
                yield what, answers.labelled() if "labels" in metric.needs else answers


SUBJECT = MetricSubject


def _answers(skill: float, images: int = 60, seed: int = 0, sure: float = 0.99) -> Answers:
    """Answers to images of seven classes, a share of which is right."""
    rng = np.random.default_rng(seed)
    count = len(_CLASSES)
    labels = np.arange(images) % count
    ranked = np.array([rng.permutation(count) for _ in range(images)])
    right = rng.random(images) < skill
    for row, label in enumerate(labels):
        place = int(np.flatnonzero(ranked[row] == label)[0])
        other = 0 if right[row] else count - 1  # first, or last of all
        ranked[row, [place, other]] = ranked[row, [other, place]]
    first = np.full(images, sure)
    rest = np.sort(rng.dirichlet(np.ones(4), images), axis=1)[:, ::-1] * (1 - sure)
    ranks = RetrievalRanks(
        image_to_text=np.where(right, 0, 50),
        text_to_image=np.where(right, 0, 50),
        images=images,
        texts=images,
    )
    chances = np.concatenate([first[:, None], rest], axis=1)
    return Answers(
        _CLASSES, labels.astype(np.int64), ranked[:, :5].astype(np.int64), chances, ranks
    )


def _samples() -> Iterator[tuple[str, Answers]]:
    usual = _answers(0.6)
    yield "answers of which 60 % are right", usual
    yield "answers that are all right", _answers(1)
    yield "answers that are all wrong", _answers(0)
    yield "one image", _answers(1, images=1)
    yield (
        "the best answers alone, without probabilities",
        replace(usual, ranked=usual.ranked[:, :1], probabilities=None),
    )
    two = _answers(0.5, images=20)
    yield "two classes", replace(
        two, classes=_CLASSES[:2], labels=two.labels % 2, ranked=two.ranked[:, :2] % 2,
        probabilities=None if two.probabilities is None else two.probabilities[:, :2],
    )  # fmt: skip
    yield "images of one class of seven", replace(usual, labels=np.full_like(usual.labels, 3))
    chances = usual.probabilities
    assert chances is not None
    gaps = np.arange(60) % 4 == 0
    yield "images without an answer", replace(
        usual, ranked=np.where(gaps[:, None], -1, usual.ranked),
        probabilities=np.where(gaps[:, None], np.nan, chances),
    )  # fmt: skip
    yield (
        "no answer at all",
        replace(
            usual,
            ranked=np.full_like(usual.ranked, -1),
            probabilities=np.full_like(chances, np.nan),
        ),
    )
    yield "images without a label", replace(usual, labels=np.where(gaps, -1, usual.labels))


@rule(
    contract=_METRIC,
    says="name: the registered name.",
    why="One name stands in JSON, CSV, page and tables; headings, units and sorting follow from the"
    " declaration.",
    needs=("settings_valid",),
)
def declaration(it: MetricSubject) -> None:
    """Name, heading, unit, direction, digits and needs are declared, each of its type."""
    metric = call(it.make, expected=f"{it.target.__name__}(settings) to give a metric")
    for attribute, type_ in (("name", str), ("heading", str), ("unit", str), ("digits", int),
                             ("higher_is_better", bool), ("priority", int),
                             ("needs", frozenset)):  # fmt: skip
        if not isinstance(found := getattr(metric, attribute, None), type_):
            fault(f"`{attribute}` to be a {type_.__name__}", f"{attribute} = {found!r}")
    if metric.name != it.plugin.name:
        fault(f"name = {it.plugin.name!r}, as it is registered", f"name = {metric.name!r}")
    for attribute in ("name", "heading"):
        if not getattr(metric, attribute).strip():
            fault(f"a {attribute} that people can read", f"{attribute} is empty")
    if not 0 <= metric.digits <= 6:
        fault("digits from 0 to 6", f"digits = {metric.digits}")
    if unknown := sorted(metric.needs - NEEDS):
        fault(f"needs among {', '.join(sorted(NEEDS))}", f"needs {unknown[0]!r}")


@rule(
    contract=_METRIC,
    says="It is made without a config: ``Class(settings)`` with the defaults of its settings.",
    why="Every installed metric is computed wherever it applies; nobody writes it into a config.",
    needs=("settings_valid",),
)
def defaults(it: MetricSubject) -> None:
    """Its settings have defaults."""
    call(it.settings_type, expected=f"{it.settings_type.__name__}() to be valid")


@rule(
    contract=f"{_METRIC}.compute",
    says="A finite number; ``None`` where the metric says nothing of such answers",
    why="A table has one cell for it: what is not a number cannot be sorted or averaged.",
    needs=("declaration",),
)
def values(it: MetricSubject) -> None:
    """A finite number or None of answers of many sorts, and a number of some of them."""
    metric = it.make()
    known = 0
    for what, answers in it.samples(metric):
        found: Any = call(metric.compute, answers, expected=f"compute to work on {what}")
        if found is None:
            continue
        number = isinstance(found, float | int | np.floating | np.integer)
        if not number or isinstance(found, bool) or not math.isfinite(found):
            fault("a finite number or None", f"{found!r} of {what}")
        known += 1
    if not known:
        fault("a number of some answers", "None of every sort of answers that it applies to")


@rule(
    contract=f"{_METRIC}.compute",
    says="The same answers give the same value, in any order of the images.",
    why="A leaderboard is made again from the same answers and must show the same numbers.",
    needs=("values",),
)
def deterministic(it: MetricSubject) -> None:
    """The same value a second time, of a new metric, of images in another order; answers stay."""
    metric = it.make()
    for what, answers in it.samples(metric):
        first = metric.compute(answers)
        kept = answers.take(np.arange(len(answers.labels)))
        mixed = answers.take(np.random.default_rng(3).permutation(len(answers.labels)))
        for how, again in (("a second time", metric.compute(answers)),
                           ("of a new metric", it.make().compute(answers)),
                           ("in another order", metric.compute(mixed))):  # fmt: skip
            if not _equal(first, again):
                fault(f"the same value {how} of {what}", f"{first}, then {again}")
        if not np.array_equal(kept.ranked, answers.ranked):
            fault("the answers to stay as they are", f"compute() changed them: {what}")


def _equal(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


@rule(
    contract=_METRIC,
    says="higher_is_better: which end of the scale is the good one.",
    why="Sorting, the best value of a column and the verdict of a comparison follow from it.",
    needs=("deterministic",),
)
def direction(it: MetricSubject) -> None:
    """Answers that are all right and sure are not worse than answers that are all wrong."""
    metric = it.make()
    right, wrong = metric.compute(_answers(1)), metric.compute(_answers(0))
    if right is None or wrong is None or right == wrong:
        return
    if (right > wrong) != metric.higher_is_better:
        better = "higher" if metric.higher_is_better else "lower"
        fault(f"the {better} value for right answers, as higher_is_better says",
              f"{right} for right answers, {wrong} for wrong ones")  # fmt: skip


@rule(
    contract=f"{_METRIC}.interval",
    says="The value's 95 % interval over new images of the same data set.",
    why="An interval that leaves its own value out is wrong, and the metric is then left out.",
    needs=("values",),
)
def intervals(it: MetricSubject) -> None:
    """None, or two numbers around the value."""
    metric = it.make()
    for what, answers in it.samples(metric):
        value = metric.compute(answers)
        if value is None:
            continue
        found = call(metric.interval, answers, value, expected=f"interval to work on {what}")
        if found is None:
            continue
        low, high = found
        if not low <= value <= high:
            fault("low <= value <= high", f"{low} .. {high} around {value}, {what}")


@rule(
    contract=f"{_METRIC}.items",
    says="The value of each image, or of each query, by itself; their plain mean is the value.",
    why="Two models are compared item by item: items of another mean would test something else.",
    needs=("values",),
)
def items(it: MetricSubject) -> None:
    """None, or finite numbers whose plain mean is the value."""
    metric = it.make()
    for what, answers in it.samples(metric):
        value = metric.compute(answers)
        if value is None:
            continue
        found = call(metric.items, answers, expected=f"items to work on {what}")
        if found is None:
            continue
        if not len(found) or not np.isfinite(found).all():
            fault("finite numbers, one at least", f"{len(found)} items of {what}: {found}")
        if not math.isclose(float(np.mean(found)), value, rel_tol=1e-9, abs_tol=1e-9):
            fault(f"items whose mean is compute()'s {value}", f"{np.mean(found)}, {what}")


@rule(
    contract=f"{_METRIC}.combine",
    says="The value over several data sets.",
    why="The first column of a leaderboard is over all data sets, some of which may have no value.",
    needs=("values",),
)
def combines(it: MetricSubject) -> None:
    """One data set's value stays what it is; missing ones are taken."""
    metric = it.make()
    value = Value(50.0, 40.0, 60.0)
    alone = call(metric.combine, [value], expected="combine([value]) to work")
    if alone is None or not math.isclose(alone.value, 50.0):
        fault("a single data set's value as it is, 50.0", f"{alone}")
    for values_ in ([value, None], [None, None]):
        found = call(metric.combine, values_, expected="combine to take None for a data set")
        if found is not None and not math.isfinite(found.value):
            fault("a finite value or None", f"{found}")


RULES = (declaration, defaults, values, deterministic, direction, intervals, items, combines)
