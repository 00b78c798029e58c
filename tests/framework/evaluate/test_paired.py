from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from engine.contracts.metric import Answers, Metric, RetrievalRanks
from engine.contracts.settings import Settings
from engine.evaluate.metrics import installed_metrics
from engine.evaluate.paired import Pair, paired_difference
from engine.evaluate.statistics import mcnemar, paired_test
from engine_plugins.metrics.classification import Accuracy, MeanRecall

CLASSES = tuple("abcdefg")


def answers(
    skill: float, seed: int, images: int = 120, *, labels: np.ndarray | None = None
) -> Answers:
    """Five ranked answers with probabilities and retrieval; the first is right by ``skill``."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % len(CLASSES) if labels is None else labels
    ranked = np.array([rng.permutation(len(CLASSES)) for _ in labels])
    right = rng.random(len(labels)) < skill
    for row, label in enumerate(labels):
        place = int(np.flatnonzero(ranked[row] == label)[0])
        other = 0 if right[row] else 1 + int(rng.integers(len(CLASSES) - 1))
        ranked[row, [place, other]] = ranked[row, [other, place]]
    first = rng.uniform(0.4, 0.9, len(labels))
    chances = np.concatenate([first[:, None], np.full((len(labels), 4), 0.02)], axis=1)
    ranks = [np.where(rng.random(len(labels)) < skill, 0, 12) for _ in range(2)]
    return Answers(
        CLASSES, labels.astype(np.int64), ranked[:, :5].astype(np.int64), chances,
        RetrievalRanks(ranks[0], ranks[1], len(labels), len(labels)),
    )  # fmt: skip


class Plain(Accuracy):
    """Accuracy that does not say that it is a mean of items."""

    def items(self, answers: Answers) -> None:  # type: ignore[override]
        """None."""


def hits(each: Answers) -> np.ndarray:
    return np.asarray(each.labels == each.best)


def test_accuracy_has_the_exact_test() -> None:
    a, b = answers(0.7, 1), answers(0.6, 2)
    found = paired_difference(Accuracy(Settings()), [Pair((a,), (b,))])
    exact = paired_test([hits(a)[None]], [hits(b)[None]])
    assert found == exact
    assert found is not None
    assert found.p == mcnemar(hits(a), hits(b))


def test_swaps_of_accuracy_are_mcnemars_test_drawn() -> None:
    a, b = answers(0.7, 3), answers(0.58, 4)
    found = paired_difference(Plain(Settings()), [Pair((a,), (b,))], swaps=4000)
    assert found is not None
    assert found.p == pytest.approx(mcnemar(hits(a), hits(b)), abs=0.03)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", sorted(installed_metrics()))
def test_every_installed_metric_has_a_test(name: str) -> None:
    metric = installed_metrics()[name]
    good, bad = answers(0.9, 5), answers(0.4, 6)
    found = paired_difference(metric, [Pair((good,), (bad,))], swaps=200, draws=50)
    assert found is not None
    assert 0 < found.p <= 1
    turned = paired_difference(metric, [Pair((bad,), (good,))], swaps=200, draws=50)
    assert turned is not None
    assert turned.value == pytest.approx(-found.value)
    assert turned.p == pytest.approx(found.p, abs=0.05)
    same = paired_difference(metric, [Pair((good,), (good,))], swaps=20, draws=20)
    assert same is not None
    assert (same.value, same.p) == (0, 1)


def test_a_metric_of_a_package_is_tested(macro_f1: ModuleType) -> None:
    metric = macro_f1.MacroF1(Settings())
    pairs = [
        Pair((answers(0.9, 7),), (answers(0.6, 8),)),
        Pair((answers(0.8, 9),), (answers(0.5, 10),)),
    ]
    found = paired_difference(metric, pairs, swaps=300, draws=100)
    assert found is not None
    assert found.p == pytest.approx(1 / 301)
    assert found.low > 0
    close = paired_difference(
        metric, [Pair((answers(0.6, 11),), (answers(0.6, 12),))], swaps=300, draws=100
    )
    assert close is not None
    assert close.p > 0.05
    assert close.low < 0 < close.high


def test_its_p_is_below_a_twentieth_about_once_in_twenty(macro_f1: ModuleType) -> None:
    metric = macro_f1.MacroF1(Settings())
    small = 0
    for case in range(120):
        pair = Pair((answers(0.6, 2 * case, 42),), (answers(0.6, 2 * case + 1, 42),))
        found = paired_difference(metric, [pair], swaps=99, draws=2)
        assert found is not None
        small += found.p <= 0.05
    # 120 fair tests: 6 expected, and more than 14 once in a thousand.
    assert 1 <= small <= 14


def test_trainings_that_differ_make_it_less_sure() -> None:
    metric = MeanRecall(Settings())
    steady = Pair(
        tuple(answers(0.75, s) for s in (1, 2, 3)), tuple(answers(0.6, s) for s in (4, 5, 6))
    )
    shaky = Pair(
        tuple(answers(k, s) for k, s in ((0.95, 1), (0.75, 2), (0.55, 3))),
        tuple(answers(k, s) for k, s in ((0.8, 4), (0.6, 5), (0.4, 6))),
    )
    one, other = (paired_difference(metric, [pair], draws=200) for pair in (steady, shaky))
    assert one is not None
    assert other is not None
    assert one.p < 0.05 < other.p
    assert other.high - other.low > 2 * (one.high - one.low)


def test_where_resampling_misleads_there_is_no_interval() -> None:
    metric = installed_metrics()["calibration_error"]
    found = paired_difference(metric, [Pair((answers(0.65, 1),), (answers(0.98, 2),))], swaps=99)
    assert found is not None
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.p < 0.05


def test_other_items_are_not_compared() -> None:
    metric = MeanRecall(Settings())
    one = answers(0.6, 1)
    assert paired_difference(metric, [Pair((one,), (answers(0.6, 2, 60),))]) is None
    other = replace(one, labels=one.labels[::-1].copy())
    assert paired_difference(metric, [Pair((one,), (other,))]) is None
    assert paired_difference(metric, []) is None


def test_answers_of_different_widths_are_swapped() -> None:
    class Best(Metric):
        """Reads the whole width."""

        name = heading = "best"

        def compute(self, answers: Answers) -> float | None:
            """Share of the images with a second answer, and the right first one."""
            assert answers.ranked.shape[1] == 5 or (answers.ranked >= 0).all()
            return float((answers.labels == answers.best).mean())

    one = answers(0.9, 1)
    other = answers(0.4, 2)
    assert other.probabilities is not None
    narrow = replace(other, ranked=other.ranked[:, :1], probabilities=other.probabilities[:, :1])
    found = paired_difference(Best(Settings()), [Pair((one,), (narrow,))], swaps=100, draws=20)
    assert found is not None
    assert found.p < 0.05
