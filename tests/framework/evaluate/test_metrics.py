"""Metrics of third parties: found, computed, shown everywhere; a wrong one harms nothing."""

from __future__ import annotations

import csv
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from engine.bench.compare import compare, side_of_predictions
from engine.bench.page.payload import payload
from engine.bench.rank import Outcome, make_leaderboard
from engine.bench.renderers import tables, to_latex, to_markdown
from engine.bench.results import DatasetAnswers, EntryAnswers, Provenance, Result
from engine.bench.tables import to_csv, to_json
from engine.cli.evaluate import score_table
from engine.contracts.metric import Answers, Metric
from engine.contracts.settings import Settings
from engine.evaluate import scores
from engine.evaluate.metrics import installed_metrics, measure
from engine.evaluate.scores import score


class Mistakes(Metric):
    """Number of the images that are answered wrongly."""

    name, heading, unit, higher_is_better, digits = "mistakes", "wrong images", "", False, 0

    def compute(self, answers: Answers) -> float | None:
        return float((answers.labels != answers.best).sum())


class Surprise(Metric):
    """Mean surprise at the answers."""

    name, heading, unit, higher_is_better, digits = "surprise", "surprise", "bit", False, 3
    needs = frozenset({"labels"})

    def compute(self, answers: Answers) -> float | None:
        return float(np.log2(1 + (answers.labels != answers.best)).mean())


@pytest.fixture(params=["macro_f1", "mistakes", "surprise"])
def theirs(request: pytest.FixtureRequest, macro_f1: ModuleType) -> Iterator[Metric]:
    """A metric of a third party, as if it were installed."""
    types = {"macro_f1": macro_f1.MacroF1, "mistakes": Mistakes, "surprise": Surprise}
    metric: Metric = types[request.param](Settings())
    found = {**installed_metrics(), metric.name: metric}
    with pytest.MonkeyPatch.context() as patch:
        for module in ("engine.evaluate.scores", "engine.bench.rank", "engine.bench.compare"):
            patch.setattr(f"{module}.installed_metrics", lambda: found)
        yield metric


TRUTH = {"d": {str(i): i % 7 for i in range(70)}, "e": {str(i): i % 3 for i in range(30)}}
GOOD = {name: {**rows, "0": 1, "1": 2} for name, rows in TRUTH.items()}
BAD = {name: dict.fromkeys(rows, 0) for name, rows in TRUTH.items()}


def test_macro_f1_equals_scikit_learns(macro_f1: ModuleType) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, best = rng.integers(0, 9, 30), rng.integers(0, 9, 30)
        answers = Answers(tuple("abcdefghi"), labels, best[:, None])
        found = macro_f1.MacroF1(Settings()).compute(answers)
        assert found == pytest.approx(100 * sklearn.f1_score(labels, best, average="macro"))


def shown(table: Any) -> str:
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_it_appears_in_a_score(theirs: Metric) -> None:
    found = score(TRUTH, GOOD)
    whole = json.loads(json.dumps(found.to_json()))
    assert whole["metrics"][theirs.name]["value"] == found.metrics[theirs.name].value
    assert all(theirs.name in each["metrics"] for each in whole["datasets"])
    assert whole["declarations"][theirs.name]["unit"] == theirs.unit
    assert whole["declarations"][theirs.name]["higher_is_better"] == theirs.higher_is_better
    text = shown(score_table(found))
    unit = f", {theirs.unit}" if theirs.unit else ""
    assert f"{theirs.heading}{unit} {'↑' if theirs.higher_is_better else '↓'}" in text
    assert f"{found.metrics[theirs.name].value:.{theirs.digits + 1}f}" in text


def outcome(name: str, answers: Mapping[str, Mapping[str, int]]) -> Outcome:
    from engine.bench.evaluator import result_of

    held = {
        dataset: DatasetAnswers(
            classes=tuple("abcdefg"), ids=tuple(rows), labels=tuple(TRUTH[dataset].values()),
            top=tuple((answer,) for answer in rows.values()),
        )
        for dataset, rows in answers.items()
    }  # fmt: skip
    datasets = tuple(result_of(each, held[each], "", []) for each in held)
    provenance = Provenance(source="predictions", path=name)
    result = Result(key=name, entry=name, seed=0, provenance=provenance, datasets=datasets)
    return Outcome(result, EntryAnswers(datasets=held))


def test_it_appears_on_a_leaderboard_in_every_form(theirs: Metric) -> None:
    outcomes = [outcome("good", GOOD), outcome("bad", BAD)]
    leaderboard = make_leaderboard(
        "s", ["good", "bad"], outcomes, size_buckets=(), failed={}, skipped={}, draws=100
    )
    value = leaderboard.row("good").metrics[theirs.name].value
    cell = f"{value:,.{theirs.digits}f}"
    (declaration,) = [each for each in leaderboard.declarations if each.name == theirs.name]
    text = "\n".join(shown(each) for each in tables(leaderboard, 250))
    assert declaration.title in text
    assert cell in text
    markdown, latex = to_markdown(leaderboard), to_latex(leaderboard)
    assert declaration.title in markdown.replace("\\", "")
    assert f" {cell} |" in markdown
    assert theirs.heading in latex
    assert f" {cell} " in latex
    assert ("$\\uparrow$" if theirs.higher_is_better else "$\\downarrow$") in latex
    line = next(csv.DictReader(io.StringIO(to_csv(leaderboard))))
    assert float(line[theirs.name]) == value
    assert (
        float(line[f"d {theirs.name}"])
        == leaderboard.row("good").datasets["d"].metrics[theirs.name].value
    )
    assert declaration.words in line["metrics"]
    whole = json.loads(to_json(leaderboard))
    assert whole["rows"][0]["metrics"][theirs.name]["value"] == value
    assert theirs.name in [each["name"] for each in whole["declarations"]]
    page = payload(leaderboard, {}, [])
    (declared,) = [each for each in page["metrics"] if each["name"] == theirs.name]
    assert declared["higherIsBetter"] == theirs.higher_is_better
    assert declared["unit"] == theirs.unit
    assert page["entries"][0]["metrics"][theirs.name][0] == value


def test_it_appears_in_a_comparison(theirs: Metric, tmp_path: Path) -> None:
    for name, content in (("gt", TRUTH), ("good", GOOD), ("bad", BAD)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    sides = [
        side_of_predictions(tmp_path / f"{name}.json", tmp_path / "gt.json")
        for name in ("good", "bad")
    ]
    found = compare(*sides, draws=100)
    compared = found.to_json()["metrics"][theirs.name]
    assert compared["better"] == "a"
    assert (compared["unit"], compared["higher_is_better"]) == (
        theirs.unit,
        theirs.higher_is_better,
    )
    assert compared["difference"] == compared["a"]["value"] - compared["b"]["value"]
    assert 0 < compared["p"] <= compared["p_corrected"] <= 1
    low, high = compared["interval"]
    assert low <= compared["difference"] <= high
    assert compare(*sides[::-1], draws=100).to_json()["metrics"][theirs.name]["better"] == "b"


class Wrong(Metric):
    """A metric with a fault."""

    name = heading = "wrong"

    def compute(self, answers: Answers) -> float | None:
        raise ZeroDivisionError("nothing to divide by")


class NotFinite(Wrong):
    """Gives no number."""

    def compute(self, answers: Answers) -> float | None:
        return float("nan")


class NotANumber(Wrong):
    """Gives a text."""

    def compute(self, answers: Answers) -> Any:
        return "many"


class BesideIt(Wrong):
    """Its interval does not hold its value."""

    def compute(self, answers: Answers) -> float | None:
        return 5.0

    def interval(self, answers: Answers, value: float) -> tuple[float, float]:
        return 6.0, 7.0


@pytest.mark.parametrize("type_", [Wrong, NotFinite, NotANumber, BesideIt])
def test_a_wrong_metric_is_left_out_with_a_warning(
    type_: type[Metric], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {**installed_metrics(), "wrong": type_(Settings())}
    monkeypatch.setattr(scores, "installed_metrics", lambda: found)
    with caplog.at_level(logging.WARNING):
        result = score(TRUTH, GOOD)
    assert "metric `wrong` failed and is left out" in caplog.text
    assert "wrong" not in result.metrics
    assert result.metrics["accuracy"].value == pytest.approx(50 * (68 / 70 + 28 / 30))


def test_without_any_metric_a_score_still_counts() -> None:
    answers = Answers(("a",), np.array([0]), np.array([[0]]))
    assert measure(answers, {}) == {}
    found = scores.combine([scores.score_dataset("d", {"x": 0}, {"x": [0]}, metrics={})], {})
    assert (found.metrics, found.accuracy) == ({}, 100.0)


def test_metrics_import_no_torch() -> None:
    code = (
        "import sys; from engine.evaluate.metrics import installed_metrics;"
        " assert len(installed_metrics()) >= 10; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
