"""Calibration against scikit-learn, by properties, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.errors import DataError
from engine.evaluate.calibration import calibrate

unhurried = settings(deadline=None)  # machines are shared: a slow run is no fault
answers = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, n, elements=st.floats(0, 1)),
        hnp.arrays(np.bool_, n),
        st.integers(1, 20),
    )
)


def test_by_hand() -> None:
    found = calibrate([0.2, 0.3, 0.9, 0.8], [False, True, True, True], bins=2)
    low, high = found.bins
    assert (low.low, low.high, low.images, low.accuracy) == (0, 0.5, 2, 50.0)
    assert low.confidence == pytest.approx(0.25)
    assert (high.low, high.high, high.images, high.accuracy) == (0.5, 1, 2, 100.0)
    assert high.confidence == pytest.approx(0.85)
    assert found.error == pytest.approx(100 * (0.25 + 0.15) / 2)


@unhurried
@given(answers)
def test_bins_equal_scikit_learns(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    confidence, right, bins = case
    theirs = curve(right, confidence, n_bins=bins, pos_label=True)
    filled = [each for each in calibrate(confidence, right, bins).bins if each.images]
    assert [each.accuracy for each in filled] == pytest.approx((100 * theirs[0]).tolist())
    assert [each.confidence for each in filled] == pytest.approx(theirs[1].tolist())


@unhurried
@given(answers)
def test_error_is_the_weighted_distance_and_order_does_not_matter(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    confidence, right, bins = case
    found = calibrate(confidence, right, bins)
    assert len(found.bins) == bins
    assert sum(each.images for each in found.bins) == len(right)
    distance = [
        each.images * abs(each.accuracy - 100 * each.confidence)
        for each in found.bins
        if each.accuracy is not None and each.confidence is not None
    ]
    assert found.error == pytest.approx(math.fsum(distance) / len(right), abs=1e-9)
    assert 0 <= found.error <= 100
    mixed = np.random.default_rng(bins).permutation(len(right))
    assert calibrate(confidence[mixed], right[mixed], bins).error == pytest.approx(found.error)


def test_edges_belong_to_the_bin_below() -> None:
    found = calibrate(np.array([0, 0.25, 0.25001, 0.5, 1]), np.ones(5, np.bool_), bins=4)
    assert [each.images for each in found.bins] == [2, 2, 0, 1]
    assert (found.bins[2].confidence, found.bins[2].accuracy) == (None, None)


def test_one_that_keeps_its_promises_and_one_that_boasts() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000).astype(np.float32)
    honest = calibrate(confidence, rng.random(200_000) < confidence)
    assert len(honest.bins) == 15
    assert honest.error < 0.5
    assert calibrate(np.ones(10), np.zeros(10, np.bool_)).error == 100.0
    assert calibrate(np.array([1 + 1e-7]), np.array([True])).error == pytest.approx(0, abs=1e-4)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="no answer"):
        calibrate([], [])
    for bad in (float("nan"), -0.1, 1.5):
        with pytest.raises(DataError, match="answer 1 does not lie"):
            calibrate([0.5, bad], [True, True])
    with pytest.raises(ValueError, match="bins"):
        calibrate([0.5], [True], bins=0)
    with pytest.raises(ValueError, match="answers"):
        calibrate([0.5], [True, False])
