"""Calibration against scikit-learn, by properties, and at the edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.contracts.metric import Answers
from engine.contracts.settings import Settings
from engine.errors import DataError
from engine.evaluate.calibration import calibration_bins
from engine_plugins.metrics.calibration import CalibrationError

unhurried = settings(deadline=None)  # machines are shared: a slow run is not a fault
answers = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.floats(0, 1)),
        hnp.arrays(np.bool_, n),
        st.integers(1, 20),
    )
)


def error_of(confidence: Any, right: Any) -> float:
    """The metric of answers with these probabilities, right or wrong."""
    right = np.asarray(right)
    labels = np.zeros(len(right), np.int64)
    ranked = np.where(right, 0, 1)[:, None]
    answers = Answers(("a", "b"), labels, ranked, np.asarray(confidence, np.float64)[:, None])
    found = CalibrationError(Settings()).compute(answers)
    assert found is not None
    return found


def test_by_hand() -> None:
    low, high = calibration_bins([0.2, 0.3, 0.9, 0.8], [False, True, True, True], bins=2)
    assert (low.low, low.high, low.images, low.accuracy) == (0, 0.5, 2, 50.0)
    assert low.confidence == pytest.approx(0.25)
    assert (high.low, high.high, high.images, high.accuracy) == (0.5, 1, 2, 100.0)
    assert high.confidence == pytest.approx(0.85)
    assert error_of([0.21, 0.22, 0.9, 0.92], [False, True, True, True]) == pytest.approx(
        100 * (0.57 + 0.18) / 4
    )


@unhurried
@given(answers)
def test_bins_equal_scikit_learns(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    confidence, right, bins = case
    theirs = curve(right, confidence, n_bins=bins, pos_label=True)
    filled = [each for each in calibration_bins(confidence, right, bins) if each.images]
    assert [each.accuracy for each in filled] == pytest.approx((100 * theirs[0]).tolist())
    assert [each.confidence for each in filled] == pytest.approx(theirs[1].tolist())


@unhurried
@given(answers)
def test_error_is_the_weighted_distance_and_order_does_not_matter(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    confidence, right, bins = case
    assert len(calibration_bins(confidence, right, bins)) == bins
    found = calibration_bins(confidence, right)
    assert sum(each.images for each in found) == len(right)
    distance = [
        each.images * abs(each.accuracy - 100 * each.confidence)
        for each in found
        if each.accuracy is not None and each.confidence is not None
    ]
    error = error_of(confidence, right)
    assert error == pytest.approx(math.fsum(distance) / len(right), abs=1e-9)
    assert 0 <= error <= 100
    mixed = np.random.default_rng(bins).permutation(len(right))
    assert error_of(confidence[mixed], right[mixed]) == pytest.approx(error)


def test_edges_belong_to_the_bin_below() -> None:
    found = calibration_bins(np.array([0, 0.25, 0.25001, 0.5, 1]), np.ones(5, np.bool_), bins=4)
    assert [each.images for each in found] == [2, 2, 0, 1]
    assert (found[2].confidence, found[2].accuracy) == (None, None)


def test_one_that_keeps_its_promises_and_one_that_boasts() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000).astype(np.float32)
    assert error_of(confidence, rng.random(200_000) < confidence) < 0.5
    assert error_of(np.ones(10), np.zeros(10, np.bool_)) == 100.0
    assert error_of(np.array([1 + 1e-7]), np.array([True])) == pytest.approx(0, abs=1e-4)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no answer"):
        calibration_bins([], [])
    for bad in (float("nan"), -0.1, 1.5):
        with pytest.raises(DataError, match="answer 1 does not lie"):
            calibration_bins([0.5, bad], [True, True])
    with pytest.raises(ValueError, match="bins"):
        calibration_bins([0.5], [True], bins=0)
    with pytest.raises(ValueError, match="answers"):
        calibration_bins([0.5], [True, False])
