"""The reliability diagram: how far a model's probabilities can be believed. numpy only.

Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks" (2017,
arXiv:1706.04599, section 2): images are put into bins of equal width by the probability of their
best answer. The number that sums the diagram up, the expected calibration error, is a metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import DataError

BINS = 15
"""Guo et al.'s number of bins."""


@dataclass(frozen=True)
class CalibrationBin:
    """Images whose best answer's probability lies in (low, high]; 0 itself is in the first bin.

    Attributes:
        low: 0..1.
        high: 0..1.
        images: in the bin.
        confidence: their mean probability, 0..1; ``None`` without images.
        accuracy: percent of them answered rightly; ``None`` without images.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


def calibration_bins(
    confidence: ArrayLike, right: ArrayLike, bins: int = BINS
) -> tuple[CalibrationBin, ...]:
    """Compare the probability of each best answer with whether it was right.

    Returns bins of equal width, in order, empty ones too.

    Args:
        confidence: [N], the best answer's probability, 0..1.
        right: [N] bool, whether it was right.
        bins: their number, at least 1.

    Raises:
        DataError: there is no image, or a probability is outside 0..1 (or NaN).
        ValueError: lengths differ, or ``bins`` is below 1.
    """
    promised = np.asarray(confidence, np.float64)
    kept = np.asarray(right, np.bool_)
    if promised.ndim != 1 or promised.shape != kept.shape or bins < 1:
        raise ValueError(f"{promised.shape} probabilities, {kept.shape} answers, {bins} bins")
    if not promised.size:
        raise DataError("there is no answer whose calibration could be measured")
    _refuse_improbable(promised)
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], promised, side="left")
    images = np.bincount(place, minlength=bins)
    promises = np.bincount(place, weights=promised, minlength=bins)
    hits = np.bincount(place[kept], minlength=bins)
    return tuple(
        CalibrationBin(
            low=float(edges[index]),
            high=float(edges[index + 1]),
            images=int(count),
            confidence=float(promises[index] / count) if count else None,
            accuracy=100 * float(hits[index] / count) if count else None,
        )
        for index, count in enumerate(images)
    )


def _refuse_improbable(promised: NDArray[np.float64]) -> None:
    # A softmax in float32 may end a rounding error above 1.
    fine = (promised >= 0) & (promised <= 1 + 1e-6)
    if not fine.all():
        first = int(np.argmin(fine))
        raise DataError(
            f"probability {promised[first]:g} of answer {first} does not lie in 0..1",
            hint="calibration takes the softmax's probabilities, not scores",
        )
