"""A histogram in few bars."""

from __future__ import annotations

import math
from collections import Counter

MOST = 40
"""Bars at most, but for the last one, which takes the long tail."""


def binned(histogram: Counter[int]) -> list[tuple[int, int, int]]:
    """At most 41 bins (from, to, count) of a histogram; the last takes the longest 0.5 %.

    Where that is more than one value beyond the others, ``to`` of the last bin is its maximum.
    """
    total, seen, cut = histogram.total(), 0, 0
    for value in sorted(histogram):
        seen, cut = seen + histogram[value], value
        if seen >= 0.995 * total:
            break
    low, high = min(histogram), max(histogram)
    width = max(1, math.ceil((cut - low + 1) / MOST))
    bins = [[start, start + width - 1, 0] for start in range(low, cut + 1, width)]
    rest = 0
    for value, count in histogram.items():
        place = (value - low) // width
        if place < len(bins):
            bins[place][2] += count
        else:
            rest += count
    found = [(a, b, count) for a, b, count in bins]
    return [*found, (found[-1][1] + 1, high, rest)] if rest else found
