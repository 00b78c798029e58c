"""Do 95 % intervals hold the truth in 95 % of trials, and do tests cry wolf in 5 %: simulated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from engine.evaluate.statistics import bootstrap_interval, paired_test

Right = NDArray[np.bool_]
SHARES = (0.5, 0.9, 0.98)
SIZES = (500, 200, 60)


class World:
    """Images of some difficulty, trainings of some luck: chances by the logistic curve.

    Args:
        difficulty: standard deviation over images, in logits.
        luck: standard deviation over trainings.
        shares: chance of an average image under an average training, a data set each.
        sizes: images.
    """

    def __init__(
        self,
        difficulty: float,
        luck: float,
        shares: tuple[float, ...] = SHARES,
        sizes: tuple[int, ...] = SIZES,
    ) -> None:
        self.difficulty, self.luck, self.sizes = difficulty, luck, sizes
        self.logits = [np.log(share / (1 - share)) for share in shares]
        self.rng = np.random.default_rng(7)

    def entries(self, *seeds: int) -> list[list[Right]]:
        """Equally good entries on the same new images, of so many new trainings each."""
        rng = self.rng
        images = [
            logit + rng.normal(0, self.difficulty, size)
            for logit, size in zip(self.logits, self.sizes, strict=True)
        ]
        lucks = [rng.normal(0, self.luck, (count, 1)) for count in seeds]
        return [
            [rng.random((len(luck), len(each))) < 1 / (1 + np.exp(-luck - each)) for each in images]
            for luck in lucks
        ]

    def truth(self) -> float:
        """The mean accuracy over all images and trainings, percent."""
        points, weights = np.polynomial.hermite_e.hermegauss(100)
        spread = np.hypot(self.difficulty, self.luck) * points
        means = [weights @ (1 / (1 + np.exp(-x - spread))) / weights.sum() for x in self.logits]
        return 100 * float(np.mean(means))


def coverage(world: World, seeds: int, trials: int = 400) -> float:
    truth = world.truth()
    intervals = (
        bootstrap_interval(world.entries(seeds)[0], draws=1000, seed=trial)
        for trial in range(trials)
    )
    return sum(each.low <= truth <= each.high for each in intervals) / trials


@pytest.mark.parametrize("images", [50, 500])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_one_data_set(share: float, images: int) -> None:
    # Every possible count, weighted by its chance: no simulation, but steps, as counts are whole.
    counts = np.arange(images + 1)
    intervals = [
        bootstrap_interval([(np.arange(images) < k)[None]], draws=4000, seed=int(k)) for k in counts
    ]
    inside = [each.low <= 100 * share <= each.high for each in intervals]
    assert 0.93 <= stats.binom.pmf(counts, images, share) @ inside <= 0.985


@pytest.mark.parametrize("difficulty", [0, 3])
def test_several_data_sets(difficulty: float) -> None:
    assert 0.93 <= coverage(World(difficulty, 0), 1, trials=1000) <= 0.975


@pytest.mark.parametrize("share", [0.02, 0.98])
def test_several_data_sets_near_the_ends(share: float) -> None:
    assert 0.93 <= coverage(World(0, 0, (share,) * 3, (50, 50, 100)), 1, trials=1000) <= 0.975


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("difficulty", "luck"), [(3, 0), (3, 0.15), (3, 0.5), (0, 0.15), (0, 0.5)])
def test_several_trainings(seeds: int, difficulty: float, luck: float) -> None:
    assert 0.91 <= coverage(World(difficulty, luck), seeds) <= 0.975


def test_trainings_that_err_wholly_by_chance_are_on_the_safe_side() -> None:
    # Without difficult images nothing tells luck of a training from luck with an image.
    assert 0.95 <= coverage(World(0, 0), 3) <= 0.995


@pytest.mark.parametrize("luck", [0, 0.15, 0.5])
def test_two_trainings_can_fall_short(luck: float) -> None:
    assert 0.85 <= coverage(World(3, luck), 2) <= 0.98


def test_resampling_of_trainings_would_fall_far_short() -> None:
    # Why trainings are not simply drawn again: the ordinary bootstrap of both, on the same trials.
    world, inside, trials = World(3, 0.5), 0, 100
    truth = world.truth() / 100
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        drawn = np.zeros(200)
        (entry,) = world.entries(3)
        seeds = rng.multinomial(3, [1 / 3] * 3, 200) / 3
        for each in entry:
            images = each.shape[1]
            weights = rng.multinomial(images, np.full(images, 1 / images), 200) / images
            drawn += np.einsum("ds,si,di->d", seeds, each, weights, optimize=True) / len(entry)
        low, high = np.quantile(drawn, (0.025, 0.975))
        inside += low <= truth <= high
    assert inside / trials < 0.88


@pytest.mark.parametrize(
    ("seeds", "luck"), [((1, 1), 0), ((1, 3), 0), ((3, 3), 0.3), ((5, 3), 0.3), ((2, 2), 0.3)]
)
def test_equal_entries_are_seldom_called_different(seeds: tuple[int, int], luck: float) -> None:
    world, trials, called, inside = World(3, luck), 400, 0, 0
    for trial in range(trials):
        found = paired_test(*world.entries(*seeds), draws=1000, seed=trial)
        called += found.p < 0.05
        inside += found.low <= 0 <= found.high
    assert 0.015 <= called / trials <= 0.07
    assert 0.925 <= inside / trials <= 0.985


@pytest.mark.parametrize("seeds", [1, 3])
def test_five_points_on_six_thousand_images_are_found(seeds: int) -> None:
    for trial in range(30):
        rng = np.random.default_rng(trial)
        a = [rng.random((seeds, 2000)) < 0.75 for _ in range(3)]
        b = [rng.random((seeds, 2000)) < 0.70 for _ in range(3)]
        found = paired_test(a, b, draws=1000, seed=trial)
        assert found.p < 0.05
        assert found.low < 5 < found.high or abs(found.value - 5) < 4
