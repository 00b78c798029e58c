"""Intervals and tests against scipy and statsmodels, by properties, and at the edges."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from engine.errors import DataError
from engine.evaluate.statistics import (
    _interaction,
    bootstrap_interval,
    holm,
    mcnemar,
    paired_test,
    student,
)

unhurried = settings(deadline=None)  # machines are shared: a slow run is not a fault
Right = NDArray[np.bool_]


def row(right: int, images: int) -> Right:
    """[1, images]: the first ``right`` are right."""
    return (np.arange(images) < right)[None]


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[Right, Right]:
    """[1, images] each."""
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a[None], b[None]


@st.composite
def entries(draw: st.DrawFn, count: int = 1, maximum: int = 12) -> list[list[Right]]:
    """Entries on the same images: 1 to 3 data sets, 1 to 3 seeds of their own."""
    sizes = draw(st.lists(st.integers(1, maximum), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    seeds = [draw(st.integers(1, 3)) for _ in range(count)]
    return [[rng.random((each, images)) < share for images in sizes] for each in seeds]


# The interval


@pytest.mark.parametrize(("right", "images"), [(1, 20), (19, 20), (10, 20), (431, 570), (3, 2000)])
def test_one_data_set_and_one_seed_is_jeffreys_interval(right: int, images: int) -> None:
    interval = bootstrap_interval([row(right, images)], draws=200_000)
    low, high = proportion_confint(right, images, method="jeffreys")
    scale = 100 * (high - low)
    assert interval.low == pytest.approx(100 * low, abs=0.01 * scale)
    assert interval.high == pytest.approx(100 * high, abs=0.01 * scale)


@pytest.mark.parametrize("seeds", [1, 4])
@pytest.mark.parametrize("images", [1, 7, 500])
def test_nothing_and_everything_right_do_not_collapse(images: int, seeds: int) -> None:
    nothing = bootstrap_interval([np.zeros((seeds, images), np.bool_)] * 2)
    everything = bootstrap_interval([np.ones((seeds, images), np.bool_)] * 2)
    assert nothing.low == 0
    assert everything.high == 100
    # Narrower than the one-sided 97.5 % limit of one data set, wider than that of both as one.
    one, two = (100 * stats.beta.ppf(0.975, 0.5, n + 0.5) for n in (images, 2 * images))
    assert two / 2 < nothing.high < one
    assert two / 2 < 100 - everything.low < one


def test_several_data_sets_against_the_normal_interval() -> None:
    data = [row(900, 1200), row(300, 1000), row(1500, 1600)]
    shares, sizes = np.array([0.75, 0.3, 0.9375]), np.array([1200, 1000, 1600])
    error = 100 * np.sqrt((shares * (1 - shares) / sizes).sum()) / 3
    interval = bootstrap_interval(data, draws=100_000)
    assert interval.low == pytest.approx(100 * shares.mean() - 1.96 * error, abs=0.05 * error)
    assert interval.high == pytest.approx(100 * shares.mean() + 1.96 * error, abs=0.05 * error)


def test_equal_trainings_are_one_training() -> None:
    once = bootstrap_interval([row(40, 60), row(9, 30)], draws=100_000)
    tripled = bootstrap_interval([row(40, 60).repeat(3, 0), row(9, 30).repeat(3, 0)], draws=100_000)
    assert tripled.low == pytest.approx(once.low, abs=0.2)
    assert tripled.high == pytest.approx(once.high, abs=0.2)


def test_trainings_that_differ_widen_it_tostudents_interval() -> None:
    # So many images that only the trainings' variance is left: the t interval of their accuracies.
    data = [np.concatenate([row(k, 400_000) for k in (200_000, 210_000, 214_000, 230_000)])]
    accuracies = 100 * data[0].mean(axis=1)
    low, high = stats.t.interval(0.95, 3, accuracies.mean(), stats.sem(accuracies))
    interval = bootstrap_interval(data, draws=200_000)
    assert interval.low == pytest.approx(low, abs=0.1)
    assert interval.high == pytest.approx(high, abs=0.1)


def test_chance_answers_are_not_counted_as_variance_of_trainings() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.random((40, 1000)) < 0.7 for _ in range(20)]  # equally good trainings
    widths = [i.high - i.low for i in (bootstrap_interval([x], draws=2000) for x in draws)]
    alone = 2 * 1.96 * 100 * np.sqrt(0.7 * 0.3 / 40_000)
    assert 0.95 * alone < np.median(widths) < 1.2 * alone  # counted twice: 1.4


@unhurried
@given(entries())
def test_interval_is_of_what_is_possible_and_holds_the_accuracy(found: list[list[Right]]) -> None:
    (entry,) = found
    interval = bootstrap_interval(entry, draws=200)
    accuracy = 100 * np.mean([each.mean() for each in entry])
    assert 0 <= interval.low <= accuracy + 1e-9
    assert accuracy - 1e-9 <= interval.high <= 100
    assert interval.high > interval.low


@unhurried
@given(entries())
def test_the_order_of_images_and_trainings_does_not_matter(found: list[list[Right]]) -> None:
    (entry,) = found
    rng = np.random.default_rng(len(entry))
    seeds = rng.permutation(len(entry[0]))
    mixed = [each[:, rng.permutation(each.shape[1])] for each in entry]
    assert bootstrap_interval(mixed, draws=200) == bootstrap_interval(entry, draws=200)
    turned = bootstrap_interval([each[seeds] for each in entry], draws=200)
    assert turned.low == pytest.approx(bootstrap_interval(entry, draws=200).low, abs=1e-6)


def test_the_seed_decides() -> None:
    data = [row(30, 50)]
    assert bootstrap_interval(data, seed=3) == bootstrap_interval(data, seed=3)
    assert bootstrap_interval(data, seed=3) != bootstrap_interval(data, seed=4)


# Variance between trainings, Student's t


def test_interaction_is_that_of_the_analysis_of_variance() -> None:
    right = np.random.default_rng(2).random((3, 12)) < 0.6
    seed, image = np.indices(right.shape)
    frame = {"y": right.ravel().astype(float), "seed": seed.ravel(), "image": image.ravel()}
    theirs = anova_lm(ols("y ~ C(seed) + C(image)", frame).fit())
    residual = theirs["sum_sq"]["Residual"] / theirs["df"]["Residual"]
    assert _interaction(right) == pytest.approx(residual / 12, rel=1e-9)


@unhurried
@given(st.floats(0, 60), st.one_of(st.floats(1, 50), st.floats(1, 9e4)))
def test_student_equals_scipy(t: float, freedom: float) -> None:
    theirs = 2 * stats.t.sf(t, freedom)
    assert student(t, freedom) == pytest.approx(theirs, rel=1e-8, abs=1e-290)


# McNemar, sign flips, the paired test


@pytest.mark.parametrize(
    "cells", [(101, 59, 121, 33), (5, 0, 0, 5), (0, 1, 0, 0), (9, 3, 3, 1), (0, 0, 12, 0)]
)
def test_mcnemar_equals_statsmodels(cells: tuple[int, int, int, int]) -> None:
    a, b = table(*cells)
    theirs = their_mcnemar([[cells[0], cells[1]], [cells[2], cells[3]]], exact=True).pvalue
    assert mcnemar(a[0], b[0]) == pytest.approx(theirs, rel=1e-9)
    assert paired_test([a], [b], draws=10).p == mcnemar(a[0], b[0])


@unhurried
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_mcnemar_equals_scipy_and_is_symmetric(only_a: int, only_b: int, both: int) -> None:
    a, b = table(both + 1, only_a, only_b, 0)
    discordant = only_a + only_b
    theirs = stats.binomtest(only_a, discordant).pvalue if discordant else 1.0
    assert mcnemar(a[0], b[0]) == pytest.approx(theirs, rel=1e-9)
    assert mcnemar(a[0], b[0]) == mcnemar(b[0], a[0])


def test_mcnemar_of_a_million_images_does_not_overflow() -> None:
    a, b = table(0, 501_200, 498_800, 0)
    theirs = stats.binomtest(501_200, 1_000_000).pvalue
    assert mcnemar(a[0], b[0]) == pytest.approx(theirs, rel=1e-6)
    a, b = table(0, 1_000_000, 0, 0)
    assert mcnemar(a[0], b[0]) == 0.0  # 2 ** -999_999


@unhurried
@given(entries(count=2, maximum=4))
def test_sign_flips_equal_scipys_permutation_test(found: list[list[Right]]) -> None:
    a, b = ([each[:1] for each in entry] for entry in found)
    differences = np.concatenate(
        [(x[0].astype(float) - y[0]) / x.shape[1] for x, y in zip(a, b, strict=True)]
    )
    theirs = 1.0
    if len(differences) > 1 and round(differences.sum(), 9):
        theirs = stats.permutation_test(
            (differences,),
            # Rounded: sums in another order must stay equal.
            lambda x, axis: np.round(x.sum(axis=axis), 9),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        ).pvalue
    assert paired_test(a, b, draws=10).p == pytest.approx(theirs, abs=1e-9)


def test_sign_flips_over_sizes_without_a_common_multiple() -> None:
    # The last data set's tail summed exactly over every outcome of the first two.
    sizes, cells = (997, 1009, 1013), [(60, 41), (33, 30), (80, 63)]
    data = [table(n - x - y, x, y, 0) for n, (x, y) in zip(sizes, cells, strict=True)]
    ours = paired_test([a for a, _ in data], [b for _, b in data], draws=10).p
    laws = [
        ((2 * np.arange(x + y + 1) - x - y) / n, stats.binom.pmf(np.arange(x + y + 1), x + y, 0.5))
        for n, (x, y) in zip(sizes, cells, strict=True)
    ]
    sums = np.add.outer(laws[0][0], laws[1][0])
    chances = np.multiply.outer(laws[0][1], laws[1][1])
    observed = sum((x - y) / n for n, (x, y) in zip(sizes, cells, strict=True))
    tails = np.append(laws[2][1][::-1].cumsum()[::-1], 0)
    exact = 2 * (chances * tails[np.searchsorted(laws[2][0], observed - sums - 1e-12)]).sum()
    assert exact <= ours <= 1.02 * exact


def test_no_chance_is_reported_as_impossible() -> None:
    a, b = table(0, 997, 0, 0), table(0, 1009, 0, 0)
    assert 0 < paired_test([a[0], b[0]], [a[1], b[1]], draws=10).p <= 1e-13


def test_paired_interval_against_the_normal_one() -> None:
    a, b = table(700, 160, 90, 250)
    found = paired_test([a], [b], draws=100_000)
    difference = a[0].astype(float) - b[0]
    error = 100 * difference.std() / np.sqrt(difference.size)
    assert found.value == pytest.approx(100 * 70 / 1200)
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.05 * error)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.05 * error)


def test_pairing_pays_where_entries_fail_on_the_same_images() -> None:
    alike = paired_test([table(500, 40, 10, 450)[0]], [table(500, 40, 10, 450)[1]])
    apart = paired_test([table(285, 255, 225, 235)[0]], [table(285, 255, 225, 235)[1]])
    assert alike.value == pytest.approx(3)
    assert apart.value == pytest.approx(3)
    assert alike.high - alike.low < 0.5 * (apart.high - apart.low)
    assert alike.p < 0.001 < 0.05 < apart.p


def test_equal_answers_are_a_tie_with_room() -> None:
    same = [row(30, 50), row(5, 20)]
    found = paired_test(same, same)
    assert (found.value, found.p) == (0.0, 1.0)
    assert -12 < found.low < 0 < found.high < 12


def test_several_trainings_against_welchs_test() -> None:
    # So many images that only the trainings' variance is left.
    counts = [(200_000, 206_000, 209_000, 216_000), (221_000, 224_000, 227_000)]
    a, b = ([np.concatenate([row(k, 400_000) for k in each])] for each in counts)
    theirs = stats.ttest_ind(a[0].mean(axis=1), b[0].mean(axis=1), equal_var=False)
    assert paired_test(a, b, draws=10).p == pytest.approx(theirs.pvalue, rel=0.05)
    # One training of each would call this certain: it speaks of these two models alone.
    assert paired_test([a[0][:1]], [b[0][:1]], draws=10).p < 1e-6 < theirs.pvalue


@unhurried
@given(entries(count=2))
def test_paired_test_is_antisymmetric(found: list[list[Right]]) -> None:
    a, b = found
    one, other = paired_test(a, b, draws=4000), paired_test(b, a, draws=4000)
    assert one.value == pytest.approx(-other.value)
    assert one.p == pytest.approx(other.p, rel=1e-9)
    # Draws differ; those of two trainings have Cauchy's tails.
    room = (0.1 if len(a[0]) == len(b[0]) == 1 else 0.5) * (one.high - one.low) + 1e-9
    assert one.low == pytest.approx(-other.high, abs=room)
    assert -100 <= one.low <= one.value <= one.high <= 100
    assert 0 < one.p <= 1


# Holm


def test_holm_equals_statsmodels() -> None:
    rng = np.random.default_rng(1)
    ps = np.concatenate((rng.random(20), rng.random(20) ** 6, [0, 1, 0.004, 0.004])).tolist()
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1].tolist())


@unhurried
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_corrects_upwards_and_keeps_the_order(ps: list[float]) -> None:
    ours = holm(ps)
    assert all(p <= corrected <= 1 for p, corrected in zip(ps, ours, strict=True))
    ranked = sorted(range(len(ps)), key=ps.__getitem__)
    assert all(ours[i] <= ours[j] for i, j in pairwise(ranked))
    assert min(ours) == pytest.approx(min(1, len(ps) * min(ps)))
    smaller = [p / 2 for p in ps]
    assert all(less <= more for less, more in zip(holm(smaller), ours, strict=True))


def test_holm_by_hand_and_at_the_edges() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            holm([0.5, bad])


# Bad input


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "no data set"),
        ([np.zeros((1, 0), np.bool_)], "no image"),
        ([np.zeros((0, 4), np.bool_)], "no seed"),
        ([np.zeros(4, np.bool_)], r"no \[seeds, images\]"),
        ([np.zeros((1, 4))], "float64"),
        ([row(1, 2), np.zeros((2, 4), np.bool_)], "2 seeds, the first one 1"),
    ],
)
def test_what_is_no_entry_is_refused(entry: list[Right], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bootstrap_interval(entry)
    with pytest.raises(DataError, match=message):
        paired_test(entry, entry)


def test_other_images_are_refused() -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        paired_test([row(1, 4)], [row(1, 5)])
    with pytest.raises(DataError, match="cannot be compared"):
        paired_test([row(1, 4)], [row(1, 4), row(1, 4)])
    with pytest.raises(DataError, match="cannot be compared"):
        mcnemar(row(1, 4)[0], row(1, 5)[0])


def test_it_needs_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, engine.evaluate.statistics, engine.evaluate.calibration,"
        " engine.evaluate.retrieval;"
        "assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
