"""Whether an evaluated model is measurably better than one that guesses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_Z = 1.959963984540054
"""Quantile of the standard normal distribution at 0.975."""

CHANCE_HIGH = "chance_high"
"""The score below which an accuracy is not measurably better than chance, in percent."""


def chance_scores(datasets: Sequence[tuple[int, int]]) -> dict[str, float]:
    """What a model that guesses reaches: ``chance``, its mean accuracy, and ``chance_high``.

    ``chance_high`` is the upper end of what guessing gives in 97.5 % of all cases, by the normal
    approximation. On one data set an accuracy is above it exactly where the lower end of its Wilson
    interval is above chance (Wilson, 1927: the interval inverts this test).

    Args:
        datasets: images and classes of each data set, both at least 1.
    """
    shares = [(images, 1 / classes) for images, classes in datasets]
    mean = math.fsum(share for _, share in shares) / len(shares)
    variance = math.fsum(share * (1 - share) / images for images, share in shares)
    high = mean + _Z * math.sqrt(variance) / len(shares)
    return {"chance": 100 * mean, CHANCE_HIGH: 100 * min(1.0, high)}


def chance_warning(scores: Mapping[str, float]) -> str | None:
    """A warning where the accuracy is not measurably better than chance, else ``None``."""
    accuracy, high = scores.get("accuracy"), scores.get(CHANCE_HIGH)
    if accuracy is None or high is None or accuracy > high:
        return None
    return (
        f"the accuracy of {accuracy:.1f} % is not measurably better than chance"
        f" ({scores['chance']:.1f} %): on these images, guessing reaches up to {high:.1f} % in"
        " 97.5 % of all cases; train longer, or evaluate on more images"
    )
