"""How far a model's probabilities can be believed."""

from __future__ import annotations

import math

import numpy as np

from engine.contracts.metric import Answers, Metric

BINS = 15
"""Guo et al.'s number of bins."""


class CalibrationError(Metric):
    """Expected calibration error (ECE): how far probabilities are from the truth.

    Source: Guo, Pleiss, Sun & Weinberger 2017, arXiv:1706.04599, section 2. Answered images are put
    into 15 bins of equal width, (low, high], by the probability of their best answer; the error is
    the mean distance, weighted by images, between a bin's mean probability and its accuracy.
    """

    name = "calibration_error"
    heading = "calibration error"
    unit = "%"
    higher_is_better = False
    needs = frozenset({"labels", "probabilities"})
    priority = 25

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        assert answers.probabilities is not None
        answered = answers.best >= 0
        promised = answers.probabilities[answered, 0]
        if not promised.size:
            return None
        right = (answers.best == answers.labels)[answered]
        edges = np.linspace(0, 1, BINS + 1)
        place = np.searchsorted(edges[1:-1], promised, side="left")
        promises = np.bincount(place, weights=promised, minlength=BINS)
        hits = np.bincount(place[right], minlength=BINS)
        return float(100 * math.fsum(np.abs(promises - hits)) / promised.size)

    def interval(self, answers: Answers, value: float) -> None:
        """None: a resample has its own chance error in every bin, so its ECE is always larger."""
