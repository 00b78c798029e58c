"""Whether an evaluated model is measurably better than one that guesses."""

from __future__ import annotations

import math

import pytest

from engine.train.chance import chance_scores, chance_warning


@pytest.mark.parametrize("images", [8, 50, 1000])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_one_data_set_agrees_with_the_wilson_interval(images: int, classes: int) -> None:
    """The warning comes exactly where the interval's lower end does not exceed chance."""
    z, scores = 1.959963984540054, chance_scores([(images, classes)])
    warned = set()
    for correct in range(images + 1):
        p = correct / images
        spread = z * math.sqrt(p * (1 - p) / images + z * z / (4 * images * images))
        low = (p + z * z / (2 * images) - spread) / (1 + z * z / images)
        warning = chance_warning({"accuracy": 100 * p, **scores})
        assert (warning is None) == (low > 1 / classes)
        warned.add(warning is None)
    assert warned == {True, False}


def test_several_data_sets_narrow_the_limit() -> None:
    one, four = chance_scores([(100, 10)]), chance_scores([(100, 10)] * 4)
    assert one["chance"] == pytest.approx(four["chance"]) == pytest.approx(10)
    assert one["chance_high"] - 10 == pytest.approx(2 * (four["chance_high"] - 10))


def test_the_warning_names_the_figures_and_nothing_unevaluated() -> None:
    warning = chance_warning({"accuracy": 11.0, **chance_scores([(100, 10)])})
    assert warning is not None
    assert "11.0 %" in warning
    assert "chance (10.0 %)" in warning
    assert "15.9 %" in warning
    assert chance_warning({}) is None
