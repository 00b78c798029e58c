"""Is the difference of a metric real: any metric, two models, the same images. numpy only.

A metric that is the plain mean of right and wrong items (``Metric.items``) has an exact test, that
of :func:`engine.evaluate.statistics.paired_test`. Every other metric is tested by randomisation:

- If the two models were alike, it would be chance which of them gave which of the two answers to
  an image. So the answers are swapped image by image by fair coins, and p is the share of such
  swaps whose difference is at least the one that was seen, the seen one counted among them
  (Noreen 1989, Computer-Intensive Methods for Testing Hypotheses; Yeh 2000, COLING, for F1). For
  accuracy this is McNemar's test, drawn instead of summed.
- The interval is the percentile bootstrap's: the same images drawn for both models.
- Over several seeds the variance between trainings is added to that of the images, and p is
  Student's t, as for accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts.metric import DRAWS, Answers, Metric, Value
from engine.evaluate.statistics import TAIL, PairedDifference, paired_test, student

SWAPS = 1000
"""Swaps of a test by randomisation: p is never below 1 in 1001, and near 0.05 its own standard
error is 0.007."""

_NEAR = 1e-9
"""Differences that rounding alone tells apart count as equal."""


@dataclass(frozen=True)
class Pair:
    """Two models' answers to one data set, an item an image, in the same order.

    Attributes:
        a: of the first model, under each seed.
        b: of the second one.
    """

    a: tuple[Answers, ...]
    b: tuple[Answers, ...]


def paired_difference(
    metric: Metric, pairs: Sequence[Pair], *, swaps: int = SWAPS, draws: int = DRAWS, seed: int = 0
) -> PairedDifference | None:
    """Difference of a metric over data sets, ``a`` minus ``b``, with its test.

    Args:
        metric: how each side is measured and its values are combined over the data sets.
        pairs: the answers to each data set.
        swaps: of the test by randomisation.
        draws: of the bootstrap.
        seed: of both.

    Returns:
        ``None`` where the metric says nothing of one of the two. ``low`` and ``high`` are NaN
        where the metric has no interval of its own because resampling would mislead.
    """
    known = [pair for pair in (_measured(metric, pair) for pair in pairs) if pair is not None]
    seen = _difference(metric, known)
    if not known or seen is None:
        return None
    exact = _exact(metric, known, draws=10_000)
    if exact is not None and abs(exact.value - seen) < _NEAR * max(1.0, abs(seen)):
        return exact
    drawn = _bootstrap(metric, known, draws, seed) if _resampled(metric, known) else None
    if all(len(pair.a) == len(pair.b) == 1 for pair in known):
        low, high = (math.nan, math.nan) if drawn is None else _limits(drawn, seen)
        return PairedDifference(seen, low, high, _swapped(metric, known, seen, swaps, seed))
    if drawn is None:
        return PairedDifference(seen, math.nan, math.nan, math.nan)
    return _over_seeds(metric, known, seen, drawn, seed)


def _measured(metric: Metric, pair: Pair) -> Pair | None:
    """The answers that the metric reads; ``None`` where it does not apply to both models."""
    every = [*pair.a, *pair.b]
    if not all(metric.applies(each) for each in every):
        return None
    if "labels" in metric.needs:
        every = [each.labelled() for each in every]
    if not all(_alike(every[0], each) for each in every) or any(
        metric.compute(each) is None for each in every
    ):
        return None
    return Pair(tuple(every[: len(pair.a)]), tuple(every[len(pair.a) :]))


def _alike(one: Answers, other: Answers) -> bool:
    """Whether two answers are of the same items, as far as their numbers show."""
    if len(one.labels) != len(other.labels) or not np.array_equal(one.labels, other.labels):
        return False
    x, y = one.retrieval, other.retrieval
    if x is None or y is None:
        return x is y
    return (
        len(x.image_to_text) == len(y.image_to_text)
        and len(x.text_to_image) == len(y.text_to_image)
        and (x.images, x.texts) == (y.images, y.texts)
    )


def _difference(metric: Metric, pairs: Sequence[Pair]) -> float | None:
    """``a`` minus ``b``, each the combination over data sets of the mean over seeds."""
    a = _value(metric, [pair.a for pair in pairs])
    b = _value(metric, [pair.b for pair in pairs])
    return None if a is None or b is None else a - b


def _value(metric: Metric, datasets: Sequence[Sequence[Answers]]) -> float | None:
    values: list[Value | None] = []
    for seeds in datasets:
        found = [metric.compute(each) for each in seeds]
        known = [each for each in found if each is not None and math.isfinite(each)]
        if len(known) < len(found):
            return None
        values.append(Value(math.fsum(known) / len(known)))
    combined = metric.combine(values)
    return None if combined is None else combined.value


def _exact(metric: Metric, pairs: Sequence[Pair], draws: int) -> PairedDifference | None:
    """The exact test, where every item is right or wrong; ``None`` otherwise."""
    sides: tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]] = ([], [])
    for pair in pairs:
        for found, seeds in zip(sides, (pair.a, pair.b), strict=True):
            items = [metric.items(each) for each in seeds]
            known = [each for each in items if each is not None and np.isin(each, (0, 100)).all()]
            if len(known) < len(items) or len({len(each) for each in known}) > 1:
                return None
            found.append(np.array(known) > 0)
    return paired_test(*sides, draws=draws)


def _resampled(metric: Metric, pairs: Sequence[Pair]) -> bool:
    """Whether resampled images say something of the metric; it says so by its own interval."""
    if type(metric).interval is Metric.interval:
        return True
    answers = pairs[0].a[0]
    value = metric.compute(answers)
    return value is not None and metric.interval(answers, value) is not None


def _bootstrap(
    metric: Metric, pairs: Sequence[Pair], draws: int, seed: int
) -> NDArray[np.float64] | None:
    """Differences of resampled images, drawn alike for both models and all seeds."""
    found = []
    for draw in range(draws):
        again = [
            Pair(*(
                tuple(each.resampled(np.random.default_rng([seed, draw, number])) for each in side)
                for side in (pair.a, pair.b)
            ))
            for number, pair in enumerate(pairs)
        ]  # fmt: skip
        found.append(_difference(metric, again))
    known = [each for each in found if each is not None]
    return np.array(known) if 2 * len(known) >= draws else None


def _limits(drawn: NDArray[np.float64], value: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, (TAIL, 1 - TAIL))
    return min(value, float(low)), max(value, float(high))


def _swapped(metric: Metric, pairs: Sequence[Pair], seen: float, swaps: int, seed: int) -> float:
    """p of the test by randomisation, one seed each."""
    rng = np.random.default_rng([seed, 1])
    as_far = 1
    for _ in range(swaps):
        found = _difference(metric, [_swap(pair, rng) for pair in pairs])
        # A swap of which the metric says nothing counts against the difference.
        as_far += found is None or abs(found) >= abs(seen) - _NEAR * max(1.0, abs(seen))
    return as_far / (swaps + 1)


def _swap(pair: Pair, rng: np.random.Generator) -> Pair:
    (a,), (b,) = pair.a, pair.b
    width = max(a.ranked.shape[1], b.ranked.shape[1])
    coins = rng.random(len(a.labels)) < 0.5
    ranked = _exchanged(_wide(a.ranked, width, -1), _wide(b.ranked, width, -1), coins[:, None])
    sides = [replace(side, ranked=rows) for side, rows in zip((a, b), ranked, strict=True)]
    if a.probabilities is not None and b.probabilities is not None:
        chances = _exchanged(
            _wide(a.probabilities, width, np.nan), _wide(b.probabilities, width, np.nan),
            coins[:, None],
        )  # fmt: skip
        sides = [
            replace(side, probabilities=rows) for side, rows in zip(sides, chances, strict=True)
        ]
    x, y = a.retrieval, b.retrieval
    if x is not None and y is not None:
        images, texts = (
            _exchanged(one, other, rng.random(len(one)) < 0.5)
            for one, other in (
                (x.image_to_text, y.image_to_text),
                (x.text_to_image, y.text_to_image),
            )
        )
        sides = [
            replace(side, retrieval=replace(x, image_to_text=images[i], text_to_image=texts[i]))
            for i, side in enumerate(sides)
        ]
    return Pair((sides[0],), (sides[1],))


def _wide(rows: NDArray[Any], width: int, fill: float) -> NDArray[Any]:
    """[N, K] -> [N, width], what is missing filled with a value."""
    missing = width - rows.shape[1]
    if not missing:
        return rows
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=fill)


def _exchanged(
    one: NDArray[Any], other: NDArray[Any], coins: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays with the rows of the coins exchanged."""
    return np.where(coins, other, one), np.where(coins, one, other)


def _over_seeds(
    metric: Metric,
    pairs: Sequence[Pair],
    seen: float,
    drawn: NDArray[np.float64],
    seed: int,
) -> PairedDifference:
    """Student's t over images and trainings, with Satterthwaite's degrees of freedom."""
    images, trainings, uncertainty, degrees = float(drawn.var(ddof=1)), 0.0, 0.0, math.inf
    for side in ([pair.a for pair in pairs], [pair.b for pair in pairs]):
        count = len(side[0])
        values = [_value(metric, [[seeds[s]] for seeds in side]) for s in range(count)]
        known = [each for each in values if each is not None]
        if count < 2 or len(known) < count:
            continue
        share = float(np.var(known, ddof=1)) / count
        trainings += share
        uncertainty += share**2 / (count - 1)
        degrees = min(degrees, count - 1)
    variance = images + trainings
    freedom = max(degrees, variance**2 / uncertainty) if uncertainty else math.inf
    if variance == 0:
        return PairedDifference(seen, seen, seen, 1.0 if seen == 0 else 0.0)
    # Student's t by draws: a normal deviate over the root of a chi-square over its freedom.
    rng = np.random.default_rng([seed, 2])
    away = rng.standard_normal(10_000)
    if not math.isinf(freedom):
        away = away * np.sqrt(freedom / rng.chisquare(freedom, len(away)))
    low, high = _limits(seen + math.sqrt(variance) * away, seen)
    return PairedDifference(seen, low, high, student(abs(seen) / math.sqrt(variance), freedom))
