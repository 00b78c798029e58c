"""95 % intervals that a metric can use. Nothing here imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


class Interval(NamedTuple):
    """A 95 % interval, in the unit of its metric.

    Attributes:
        low: lower end.
        high: upper end.
    """

    low: float
    high: float


def wilson(correct: int, images: int, z: float = Z95) -> Interval:
    """Wilson's score interval of a share, ``correct`` out of ``images``, in percent.

    It needs no large sample and never leaves 0..100. Source: Wilson 1927; Brown, Cai & DasGupta
    2001, Statistical Science 16:101.

    Args:
        correct: number of successes.
        images: number of trials.
        z: quantile of the normal distribution; the default gives 95 %.

    Raises:
        ValueError: there are no trials, or ``correct`` is outside 0..images.
    """
    if images < 1 or not 0 <= correct <= images:
        raise ValueError(f"{correct} correct of {images} images is not a count")
    share = correct / images
    spread = z * z / images
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / images + spread / (4 * images))
    # At 0 and at `images` one limit is exactly 0 or 1, which rounding would miss by 1e-17.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == images else centre + half
    return Interval(100 * low, 100 * high)


def mover(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The interval of the plain mean of independent values, from the interval of each.

    The method of variance estimates recovery, MOVER (Zou & Donner 2008, Statistics in Medicine
    27:1693). The result speaks of new images of the same data sets, not of new data sets; for one
    value it is that value's own interval.

    Args:
        values: at least one.
        intervals: one for each value.
    """
    count = len(values)
    mean = math.fsum(values) / count
    pairs = list(zip(values, intervals, strict=True))
    down = math.sqrt(math.fsum((value - each.low) ** 2 for value, each in pairs)) / count
    up = math.sqrt(math.fsum((each.high - value) ** 2 for value, each in pairs)) / count
    return Interval(mean - down, mean + up)
