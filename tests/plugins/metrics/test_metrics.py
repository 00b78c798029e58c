"""The built-in metrics against scikit-learn and plain counts, and at the edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.intervals import mover, wilson
from engine.contracts.metric import Answers, Metric, RetrievalRanks, Value
from engine.core.registry import default_registry
from engine.evaluate.metrics import installed_metrics, measure

unhurried = settings(deadline=None)  # machines are shared: a slow run is not a fault


def metric(name: str) -> Metric:
    return installed_metrics()[name]


@st.composite
def cases(draw: st.DrawFn) -> Answers:
    """Labels and ranked answers; some images have no answer."""
    classes, images = draw(st.integers(2, 9)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ranked = np.array([rng.permutation(classes)[:5] for _ in range(images)])
    ranked[rng.random(images) < 0.1] = -1
    chances = np.sort(rng.random(ranked.shape), axis=1)[:, ::-1]
    return Answers(
        tuple(map(str, range(classes))),
        rng.integers(0, classes, images),
        ranked,
        np.where(ranked < 0, np.nan, chances),
    )


@unhurried
@given(cases())
def test_they_equal_scikit_learns(answers: Answers) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    found = measure(answers, installed_metrics(), intervals=False)
    labels, best = answers.labels, answers.best
    assert found["accuracy"].value == pytest.approx(100 * sklearn.accuracy_score(labels, best))
    there = sorted(set(labels.tolist()))
    recall = sklearn.recall_score(labels, best, labels=there, average="macro", zero_division=0)
    assert found["mean_recall"].value == pytest.approx(100 * recall)
    hits = [label in row for label, row in zip(labels, answers.ranked, strict=True)]
    if len(answers.classes) > 5:
        assert found["top5"].value == pytest.approx(100 * np.mean(hits))
    else:
        assert "top5" not in found


@unhurried
@given(cases(), st.integers(0, 99))
def test_every_interval_holds_its_value_and_order_does_not_matter(
    answers: Answers, seed: int
) -> None:
    found = measure(answers, installed_metrics())
    mixed = answers.take(np.random.default_rng(seed).permutation(len(answers.labels)))
    again = measure(mixed, installed_metrics(), intervals=False)
    assert found.keys() == again.keys()
    for name, value in found.items():
        assert again[name].value == pytest.approx(value.value)
        if value.interval is not None:
            assert value.interval.low <= value.value <= value.interval.high


@pytest.mark.parametrize(("name", "hits"), [("accuracy", 3), ("top5", 4)])
def test_intervals_of_shares_are_wilsons(name: str, hits: int) -> None:
    ranked = np.array([[0, 1, 2, 3, 4]] * 4 + [[1, 2, 3, 4, 5]])
    answers = Answers(tuple("abcdefg"), np.array([0, 0, 0, 1, 0]), ranked)
    value = measure(answers, installed_metrics())[name]
    assert value.value == 100 * hits / 5
    assert value.interval == wilson(hits, 5)


def test_over_data_sets() -> None:
    values = [Value(50.0, 40.0, 60.0), Value(100.0, 90.0, 100.0)]
    found = metric("accuracy").combine(values)
    assert found is not None
    assert found.value == 75.0
    intervals = [each.interval for each in values]
    assert found.interval == mover([50.0, 100.0], [each for each in intervals if each])
    # Without an interval of each there is none of the mean; a gap is passed over ...
    assert metric("mean_recall").combine([values[0], None, Value(70.0)]) == Value(60.0)
    # ... but for top-5: a mean over the data sets with many classes alone would mislead.
    assert metric("top5").combine([values[0], None]) is None
    assert metric("accuracy").combine([None]) is None


@pytest.mark.parametrize("way", ["image_to_text", "text_to_image"])
@pytest.mark.parametrize("k", [1, 5, 10])
def test_recalls(way: str, k: int) -> None:
    ranks = RetrievalRanks(np.array([0, 0, 3, 7, 50]), np.array([0, 4, 9, 100]), 20, 30)
    answers = Answers(("a",), np.array([], np.int64), np.zeros((0, 1), np.int64), None, ranks)
    value = measure(answers, installed_metrics())[f"{way}_r{k}"]
    queries = getattr(ranks, way)
    assert value.value == 100 * np.mean(queries < k)
    assert value.interval == wilson(int((queries < k).sum()), len(queries))
    few = replace(answers, retrieval=replace(ranks, images=k, texts=k))
    assert f"{way}_r{k}" not in measure(few, installed_metrics())


def test_what_is_not_known_is_left_out() -> None:
    best_alone = Answers(tuple("abcdefgh"), np.array([0, 1]), np.array([[0], [2]]))
    assert measure(best_alone, installed_metrics()).keys() == {"accuracy", "mean_recall"}
    no_label = replace(best_alone, labels=np.array([-1, -1]))
    assert measure(no_label, installed_metrics()) == {}
    silent = replace(best_alone, ranked=np.full((2, 1), -1), probabilities=np.full((2, 1), np.nan))
    assert measure(silent, installed_metrics())["accuracy"].value == 0
    assert "calibration_error" not in measure(silent, installed_metrics())
    half = replace(best_alone, labels=np.array([0, -1]))
    assert measure(half, installed_metrics())["accuracy"].value == 100


def test_a_bootstrap_that_says_nothing_gives_no_interval() -> None:
    right = Answers(("a", "b"), np.array([0, 1] * 20), np.array([[0], [1]] * 20))
    assert measure(right, installed_metrics())["mean_recall"].interval is None
    some = replace(right, ranked=np.array([[0], [0], [1], [1]] * 10))
    interval = measure(some, installed_metrics())["mean_recall"].interval
    assert interval is not None
    assert 20 < interval.low < 50 < interval.high < 80


def test_each_is_registered_under_its_own_name() -> None:
    for each in default_registry().all("metric"):
        loaded = each.plugin.load()(each.plugin.load_settings()())
        assert loaded.name == each.plugin.name
        assert math.isfinite(loaded.priority)
        assert loaded.declaration().meaning
