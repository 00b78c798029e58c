"""Scores against scipy, by properties, and at the edges."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.intervals import mover, wilson
from engine.errors import DataError
from engine.evaluate.scores import class_recall, combine, score, score_dataset

unhurried = settings(deadline=None)  # machines are shared: a slow run is not a fault
counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@unhurried
@given(counts)
def test_wilson_equals_scipy(count: tuple[int, int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    correct, images = count
    theirs = stats.binomtest(correct, images).proportion_ci(0.95, method="wilson")
    ours = wilson(correct, images)
    assert ours.low == pytest.approx(100 * theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(100 * theirs.high, abs=1e-9)
    assert 0 <= ours.low <= 100 * correct / images <= ours.high <= 100


@pytest.mark.parametrize(("correct", "images"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_count(correct: int, images: int) -> None:
    with pytest.raises(ValueError, match="not a count"):
        wilson(correct, images)


@unhurried
@given(st.lists(counts, min_size=1, max_size=6))
def test_interval_of_the_mean_holds_the_mean_and_stays_in_bounds(
    data: list[tuple[int, int]],
) -> None:
    values = [100 * k / n for k, n in data]
    intervals = [wilson(k, n) for k, n in data]
    interval, mean = mover(values, intervals), sum(values) / len(values)
    assert -1e-9 <= interval.low <= mean + 1e-9
    assert mean - 1e-9 <= interval.high <= 100 + 1e-9
    # Errors of independent data sets partly cancel: never wider than the mean of the limits.
    assert interval.low >= sum(i.low for i in intervals) / len(intervals) - 1e-9
    assert interval.high <= sum(i.high for i in intervals) / len(intervals) + 1e-9
    if len(data) == 1:
        assert interval.low == pytest.approx(intervals[0].low)
        assert interval.high == pytest.approx(intervals[0].high)


def test_interval_of_the_mean_covers_the_true_mean_in_95_percent_of_trials() -> None:
    shares, images = np.array([0.97, 0.75, 0.4]), np.array([60, 300, 40])
    draws = np.random.default_rng(0).binomial(images, shares, size=(4000, 3))
    inside = 0
    for row in draws:
        pairs = [(int(k), int(n)) for k, n in zip(row, images, strict=True)]
        interval = mover([100 * k / n for k, n in pairs], [wilson(k, n) for k, n in pairs])
        inside += interval.low <= 100 * shares.mean() <= interval.high
    assert 0.935 <= inside / len(draws) <= 0.975


def test_score_of_a_small_example_by_hand() -> None:
    truth = {"a": {"1": 0, "2": 0, "3": 1, "4": 3}, "b": {"1": 0}}
    result = score(truth, {"a": {"1": 0, "2": 1, "3": 1}, "b": {"1": 0}})
    a, b = result.datasets
    assert (a.images, a.correct, a.missing, a.classes, a.accuracy) == (4, 2, 1, 4, 50.0)
    assert a.recall == (50.0, 100.0, None, 0.0)
    assert a.metrics["mean_recall"].value == 50.0
    assert (b.images, b.correct, b.accuracy, b.classes) == (1, 1, 100.0, 1)
    assert "top5" not in b.metrics
    assert result.accuracy == result.metrics["accuracy"].value == 75.0
    assert result.metrics["mean_recall"].value == 75.0
    assert result.to_json()["datasets"][0]["recall"] == [50.0, 100.0, None, 0.0]


def test_the_mean_is_over_data_sets_and_unrounded() -> None:
    truth = {"big": dict.fromkeys("abc", 0), "small": {"x": 1}}
    result = score(truth, {"big": {"a": 0, "b": 0, "c": 2}, "small": {"x": 0}})
    assert result.accuracy == (200 / 3 + 0) / 2


@unhurried
@given(
    st.integers(1, 12).flatmap(
        lambda k: st.tuples(
            st.just(k),
            st.dictionaries(
                st.text(min_size=1, max_size=3),
                st.tuples(st.integers(0, k - 1), st.integers(-1, k - 1)),
                min_size=1,
            ),
        )
    )
)
def test_score_agrees_with_a_plain_count(
    case: tuple[int, dict[str, tuple[int, int]]],
) -> None:
    classes, rows = case
    truth = {image: label for image, (label, _) in rows.items()}
    top = {image: [answer] for image, (_, answer) in rows.items() if answer >= 0}
    result = score_dataset("d", truth, top, classes)
    assert result.correct == sum(label == answer for label, answer in rows.values())
    assert result.missing == sum(answer < 0 for _, answer in rows.values())
    assert result.accuracy == 100 * result.correct / len(rows)
    for index, recall in enumerate(result.recall):
        own = [answer == label for label, answer in rows.values() if label == index]
        assert recall == (100 * sum(own) / len(own) if own else None)


def test_recall_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    labels, answers = rng.integers(0, 7, 200), rng.integers(0, 7, 200)
    theirs = 100 * metrics.recall_score(labels, answers, average=None)
    np.testing.assert_allclose(np.array(class_recall(labels, answers, 7), float), theirs)


def test_top5() -> None:
    truth = {"a": 5, "b": 0}
    top = {"a": [0, 1, 2, 3, 5, 4], "b": [1, 2, 3, 4, 5, 0]}
    assert score_dataset("d", truth, top, 6, ranked=True).metrics["top5"].value == 50.0
    assert "top5" not in score_dataset("d", truth, top, 6).metrics
    few = score_dataset("d", {"a": 0}, {"a": [1, 0]}, 2, ranked=True)
    assert "top5" not in few.metrics  # always 100: says nothing
    assert "top5" not in combine([score_dataset("d", truth, top, 6, ranked=True), few]).metrics


def test_one_image() -> None:
    result = score({"d": {"only": 2}}, {"d": {"only": 2}})
    assert result.accuracy == 100.0
    interval = result.metrics["accuracy"].interval
    assert interval is not None
    assert interval.high == 100.0
    assert interval.low == pytest.approx(20.654, abs=1e-3)
    assert result.datasets[0].metrics["mean_recall"].value == 100.0


def test_nothing_answered_is_all_wrong() -> None:
    result = score({"d": {"a": 0, "b": 1}}, {})
    assert (result.accuracy, result.datasets[0].missing) == (0.0, 2)
    assert result.metrics["accuracy"].low == 0.0


@pytest.mark.parametrize(
    ("truth", "predictions", "words"),
    [
        ({}, {}, "no data set"),
        ({"d": {}}, {"d": {}}, "names no image"),
        ({"caltech101": {"a": 0}}, {"caltech10l": {"a": 0}}, "did you mean `caltech101`"),
        ({"d": {"a": 0}}, {"d": {"zz": 0}}, "`zz`"),
        ({"d": {"a": 0}}, {"d": {"a": -1}}, "class index -1"),
    ],
)
def test_bad_files_are_refused(
    truth: dict[str, dict[str, int]], predictions: dict[str, dict[str, int]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        score(truth, predictions)


def test_an_index_above_the_classes_is_refused() -> None:
    with pytest.raises(DataError, match="class index 7 does not exist"):
        score_dataset("d", {"a": 0}, {"a": [7]}, 3)


def test_the_record_is_json() -> None:
    found = json.loads(json.dumps(score({"d": {"a": 0}}, {"d": {"a": 0}}).to_json()))
    assert found["metrics"]["accuracy"] == found["datasets"][0]["metrics"]["accuracy"]
    assert found["metrics"]["accuracy"]["high"] == 100.0
    assert found["declarations"]["accuracy"]["unit"] == "%"
    assert found["declarations"]["accuracy"]["higher_is_better"] is True


def test_scoring_never_imports_torch() -> None:
    code = "import sys, engine.evaluate.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
