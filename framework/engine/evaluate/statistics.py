"""Is it real: intervals and paired tests of accuracies over data sets and seeds. numpy only.

An entry is one array a data set, ``[seeds, images]`` bool: which images each training got right.
Row ``s`` of every data set is the same training. Its accuracy is the plain mean over data sets of
the mean over seeds and images.

- **Images** are resampled within each data set, the same draw for every seed, by the Bayesian
  bootstrap (Rubin 1981, Annals of Statistics 9:130): the images' weights are a draw from a
  Dirichlet distribution. Jeffreys' half success and half failure stand beside the images, so that
  nothing collapses where all are right or wrong: with one data set and one seed the draws are
  Beta(k + 1/2, n - k + 1/2), Jeffreys' interval (Brown, Cai & DasGupta 2001, Statistical Science
  16:101). Images with the same outcome share one draw of their summed weight, which is the same
  distribution.
- **Seeds**: resampling two to five of them would understate their variance (by (S-1)/S, and no
  sample of two has tails). The crossed random-effects model of images and seeds gives their share
  instead: the variance between the seeds' accuracies, less what chance answers to single images put
  into it, which the images' draws hold already (an analysis of variance; the crossed bootstrap
  counts it twice: Owen 2007, Annals of Applied Statistics 1:386). Deviations are drawn with that
  variance added, from Student's t with Satterthwaite's degrees of freedom (1946, Biometrics
  Bulletin 2:110). In simulations (``test_statistics_coverage.py``) such intervals cover 92 to
  98.5 %, from three seeds on; with two that differ much, down to 87 %.

With one seed everything speaks of *these* trained models and new images of the same data sets;
with several, of new trainings too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.contracts.intervals import Interval
from engine.errors import DataError

Correct = Sequence[NDArray[np.bool_]]
"""One array a data set, [seeds, images]: right or wrong."""

METHOD = (
    "95 % intervals: Bayesian bootstrap over images within each data set, with Jeffreys' prior;"
    " over several seeds, Student's t with their variance added. Pairs on the same images: exact"
    " McNemar (over several data sets: exact sign flips) with one seed each, else a t test over"
    " images and seeds; corrected by Holm over all pairs"
)

TAIL = 0.025
GRID = 1 << 17
"""Most points of the grid on which the distribution of sign flips is laid."""

SMALLEST = 1e-13
"""Sign flips over several data sets tell no smaller p: there, rounding begins."""


@dataclass(frozen=True)
class PairedDifference:
    """How far one entry is ahead of another on the same images.

    Attributes:
        value: difference of the mean accuracies, in points.
        low: lower end of its 95 % interval, points.
        high: upper end.
        p: two-sided, of the hypothesis that there is no difference.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class _Outcomes:
    """A data set's images, gathered by outcome.

    Attributes:
        values: [m] outcomes of an image: its accuracy, or the difference of two.
        weights: [m] images with it, those of the prior among them.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    def mean(self) -> float:
        return float(self.weights @ self.values / self.weights.sum())

    def variance(self) -> float:
        """Of the draws."""
        total = float(self.weights.sum())
        square = float(self.weights @ self.values**2) / total
        return (square - self.mean() ** 2) / (total + 1)

    def draw(self, rng: np.random.Generator, draws: int) -> NDArray[np.float64]:
        """[draws] weighted means, their weights from the Dirichlet distribution."""
        there = self.weights > 0
        weights = rng.standard_gamma(self.weights[there], (draws, int(there.sum())))
        mean: NDArray[np.float64] = weights @ self.values[there] / weights.sum(axis=1)
        return mean


@dataclass(frozen=True)
class _Seeds:
    """What trainings add to the variance of an accuracy (of a difference: the sum of both).

    Attributes:
        variance: beyond what the images' draws hold.
        uncertainty: sum of the squares of the variances between seeds, each over its degrees of
            freedom: Satterthwaite's denominator.
        degrees: fewest degrees of freedom of any; ``inf`` without seeds to compare.
    """

    variance: float = 0.0
    uncertainty: float = 0.0
    degrees: float = math.inf

    def __add__(self, other: _Seeds) -> _Seeds:
        return _Seeds(
            self.variance + other.variance,
            self.uncertainty + other.uncertainty,
            min(self.degrees, other.degrees),
        )

    def freedom(self, images: float) -> float:
        """Satterthwaite's degrees of freedom, beside that variance over images."""
        if self.uncertainty == 0:
            return math.inf
        return max(self.degrees, (images + self.variance) ** 2 / self.uncertainty)


def bootstrap_interval(correct: Correct, *, draws: int = 10_000, seed: int = 0) -> Interval:
    """95 % interval of the plain mean over data sets of the accuracies, in percent.

    It always holds the accuracy itself: at no (all) right it begins at 0 (ends at 100).

    Args:
        correct: one array a data set, [seeds, images] bool; as many seeds in each.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        DataError: no data set, no seed, no image; data sets with different numbers of seeds.
    """
    seeds = _checked(correct)
    outcomes = []
    for each in correct:
        weights = np.bincount(each.sum(axis=0), minlength=seeds + 1).astype(np.float64)
        weights[[0, -1]] += 0.5
        outcomes.append(_Outcomes(np.arange(seeds + 1) / seeds, weights))
    drawn = _draw(outcomes, _seeds(correct), draws, seed)
    return Interval(*_limits(drawn, _accuracy(correct), 0.0))


def paired_test(a: Correct, b: Correct, *, draws: int = 10_000, seed: int = 0) -> PairedDifference:
    """Difference of the mean accuracies of two entries on the same images, in the same order.

    The interval is the bootstrap's, images resampled for both at once; Jeffreys' prior puts half an
    image into each corner of the table (both right, one right, the other, neither), as Agresti &
    Min (2005, Statistics in Medicine 24:729) do. Seeds of the two count as independent.

    p with one seed each: the sign-flip test on the images' differences, stratified by data set, a
    flip counting 1 / images of its data set, by the exact distribution. One data set: McNemar's
    exact test. Several: exact where the sizes have a small common multiple; else on a fine grid,
    never too small, too large by about 1 % of itself. It is never reported as less than 1e-13.
    With several seeds: Student's t of the difference over images and trainings, as the interval.

    Args:
        a: one array a data set, [seeds, images] bool.
        b: in the same way; the number of seeds may differ.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        DataError: as in :func:`bootstrap_interval`; data sets or images are not as many.
    """
    seeds_a, seeds_b = _checked(a), _checked(b)
    if [each.shape[1] for each in a] != [each.shape[1] for each in b]:
        raise DataError(
            f"entries of {[each.shape[1] for each in a]} and {[each.shape[1] for each in b]} images"
            " in their data sets cannot be compared",
            hint="a paired test needs both entries' answers to the same images",
        )
    outcomes = [_differences(*pair, seeds_a, seeds_b) for pair in zip(a, b, strict=True)]
    seeds = _seeds(a) + _seeds(b)
    value = _accuracy(a) - _accuracy(b)
    low, high = _limits(_draw(outcomes, seeds, draws, seed), value, -1.0)
    if seeds_a == seeds_b == 1:
        p = _sign_flips([(x[0], y[0]) for x, y in zip(a, b, strict=True)])
    else:
        images = _variance(outcomes)
        error = math.sqrt(images + seeds.variance)
        p = student(abs(value) / error, seeds.freedom(images))
    return PairedDifference(100 * value, low, high, p)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """McNemar's exact two-sided p: a fair coin on the images that only one of the two got right.

    Source: McNemar 1947, Psychometrika 12:153. Without such an image p is 1.

    Args:
        a: [images] bool, right or wrong.
        b: in the same way, of the same images.

    Raises:
        DataError: the shapes differ.
    """
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(f"answers to {a.shape} and {b.shape} images cannot be compared")
    wins, losses = int((a & ~b).sum()), int((b & ~a).sum())
    tail = _coin(wins + losses)[: min(wins, losses) + 1]
    return min(1.0, 2 * math.fsum(tail))


def holm(ps: Sequence[float]) -> list[float]:
    """p values -> p values corrected for their number (Holm 1979, Scand. J. Statistics 6:65).

    Raises:
        ValueError: a p outside 0..1.
    """
    if not all(0 <= p <= 1 for p in ps):
        raise ValueError(f"p values lie in 0..1, unlike these: {list(ps)}")
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        corrected[index] = largest
    return corrected


def _checked(correct: Correct) -> int:
    """The number of seeds."""
    if not len(correct):
        raise DataError("there is no data set to compute an interval of")
    for index, each in enumerate(correct):
        if each.ndim != 2 or each.dtype != np.bool_:
            raise DataError(f"data set {index}: {each.dtype} {each.shape} is no [seeds, images]")
        if 0 in each.shape:
            raise DataError(f"data set {index} has no seed or no image: {each.shape}")
        if len(each) != len(correct[0]):
            raise DataError(
                f"data set {index} has {len(each)} seeds, the first one {len(correct[0])}",
                hint="take the seeds that have answers to every data set",
            )
    return len(correct[0])


def _accuracy(correct: Correct) -> float:
    return math.fsum(float(each.mean()) for each in correct) / len(correct)


def _differences(
    a: NDArray[np.bool_], b: NDArray[np.bool_], seeds_a: int, seeds_b: int
) -> _Outcomes:
    # Differences are whole multiples of 1 / largest; the corners of the table are its ends and 0.
    largest = seeds_a * seeds_b
    lead = a.sum(axis=0) * seeds_b - b.sum(axis=0) * seeds_a
    weights = np.bincount(lead + largest, minlength=2 * largest + 1).astype(np.float64)
    weights[[0, largest, -1]] += (0.5, 1.0, 0.5)
    return _Outcomes(np.arange(-largest, largest + 1) / largest, weights)


def _seeds(correct: Correct) -> _Seeds:
    count = len(correct[0])
    if count < 2:
        return _Seeds()
    accuracies = np.mean([each.mean(axis=1) for each in correct], axis=0)
    between = float(accuracies.var(ddof=1))
    chance = math.fsum(_interaction(each) for each in correct) / len(correct) ** 2
    return _Seeds(
        max(0.0, between - chance) / count, (between / count) ** 2 / (count - 1), count - 1
    )


def _interaction(correct: NDArray[np.bool_]) -> float:
    """Variance of a seed's accuracy by chance answers: the interaction's mean square / images."""
    seeds, images = correct.shape
    if images < 2:
        return 0.0
    by_seed, by_image = correct.sum(axis=1), correct.sum(axis=0)
    total = float(by_seed.sum())
    square = (
        total
        - float(by_seed @ by_seed) / images
        - float(by_image @ by_image) / seeds
        + total * total / (seeds * images)
    )
    return float(max(0.0, square) / ((seeds - 1) * (images - 1)) / images)


def _variance(outcomes: Sequence[_Outcomes]) -> float:
    return math.fsum(each.variance() for each in outcomes) / len(outcomes) ** 2


def _draw(
    outcomes: Sequence[_Outcomes], seeds: _Seeds, draws: int, seed: int
) -> NDArray[np.float64]:
    """[draws] of the mean over data sets."""
    rng = np.random.default_rng(seed)
    drawn: NDArray[np.float64] = np.mean([each.draw(rng, draws) for each in outcomes], axis=0)
    freedom = seeds.freedom(_variance(outcomes))
    if math.isinf(freedom):
        return drawn
    centre = math.fsum(each.mean() for each in outcomes) / len(outcomes)
    away = drawn - centre + math.sqrt(seeds.variance) * rng.standard_normal(draws)
    wider: NDArray[np.float64] = centre + away * np.sqrt(freedom / rng.chisquare(freedom, draws))
    return wider


def _limits(drawn: NDArray[np.float64], value: float, minimum: float) -> tuple[float, float]:
    """The interval in percent: of what is possible, and holding what was seen."""
    low, high = np.quantile(drawn, (TAIL, 1 - TAIL))
    return 100 * min(value, max(minimum, float(low))), 100 * max(value, min(1.0, float(high)))


def _coin(tosses: int) -> NDArray[np.float64]:
    """[tosses + 1] the chances of 0, 1 ... heads of a fair coin.

    Built outwards from the most likely count by the ratio of neighbours: no factorial overflows.
    """
    middle = tosses // 2
    above = np.arange(middle, tosses)
    right = np.cumprod(np.concatenate(([1.0], (tosses - above) / (above + 1))))
    left = right[1 + tosses % 2 :][::-1]
    chances: NDArray[np.float64] = np.concatenate((left, right))
    chances /= chances.sum()
    return chances


def _sign_flips(pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float:
    """Two-sided p of the sum over data sets of (wins - losses) / images under fair signs.

    The sum's distribution is the convolution of one scaled binomial a data set, on a grid with a
    step that all of them are multiples of, or else so fine that rounding hardly shows; then the
    threshold is lowered by all that rounding can do.
    """
    if len(pairs) == 1:
        return mcnemar(*pairs[0])
    sizes = [len(a) for a, _ in pairs]
    leads = [int(a.sum()) - int(b.sum()) for a, b in pairs]
    tosses = [int((a ^ b).sum()) for a, b in pairs]
    observed = abs(math.fsum(lead / size for lead, size in zip(leads, sizes, strict=True)))
    step, steps, slack = _grid(tosses, sizes)
    first = math.ceil(observed / step - slack)
    if first <= 0:
        return 1.0
    points = 2 * (steps + len(pairs))
    spectrum = np.ones(points // 2 + 1, np.complex128)
    for m, size in zip(tosses, sizes, strict=True):
        place = np.rint((2 * np.arange(m + 1) - m) / (size * step)).astype(np.int64)
        near = np.abs(place) <= steps
        law = np.bincount(place[near] % points, _coin(m)[near], minlength=points)
        spectrum *= np.fft.rfft(law)
    tail = float(np.fft.irfft(spectrum, points)[first : points // 2].sum())
    return min(1.0, max(SMALLEST, 2 * tail))


def _grid(tosses: Sequence[int], sizes: Sequence[int]) -> tuple[float, int, float]:
    """The grid's step, the number of steps to its end, and how many steps rounding may be wrong."""
    scaled = list(zip(tosses, sizes, strict=True))
    furthest = math.fsum(m / size for m, size in scaled)
    # What lies beyond 13 standard deviations has no weight in double precision.
    reach = min(furthest, 13 * math.sqrt(math.fsum(m / size**2 for m, size in scaled)))
    common = math.lcm(*sizes)
    if reach * common <= GRID // 2:
        return 1 / common, math.ceil(reach * common) + 1, 0.25
    steps = GRID // 2 - len(sizes)
    return reach / steps, steps, len(sizes) / 2 + 0.25


def student(t: float, freedom: float) -> float:
    """Two-sided p of Student's t: the regularised incomplete beta function I(df/2, 1/2).

    Args:
        t: at least 0.
        freedom: degrees of freedom; ``inf``: the normal distribution.
    """
    if freedom > 1e5:
        return math.erfc(t / math.sqrt(2))
    x, half = freedom / (freedom + t * t), freedom / 2
    if x < (half + 1) / (half + 2.5):
        return min(1.0, _beta(x, half, 0.5))
    return max(0.0, 1 - _beta(t * t / (freedom + t * t), 0.5, half))


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function for x < (a + 1) / (a + b + 2).

    Source: dlmf.nist.gov/8.17.22, a continued fraction, here from its far end.
    """
    if x == 0:
        return 0.0
    fraction = 1.0
    for m in range(100 + int(3 * math.sqrt(max(a, b))), 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1 + even / (1 + odd / fraction)
    fraction = 1 - (a + b) * x / (a + 1) / fraction
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x)
    return math.exp(front + b * math.log1p(-x)) / (a * fraction)
