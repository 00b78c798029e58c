"""``engine bench``: what a user sees of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Right answers and two files of predictions: one much better than the other."""
    truth = {"d": {str(i): i % 4 for i in range(80)}}
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "good.json").write_text(json.dumps(truth))
    (tmp_path / "bad.json").write_text(json.dumps({"d": dict.fromkeys(truth["d"], 0)}))
    return tmp_path


def suite(folder: Path, **settings: Any) -> Path:
    """A suite of predictions alone, which needs no model, over a folder of nine pictures."""
    from PIL import Image

    (folder / "data" / "d" / "img").mkdir(parents=True)
    (folder / "data" / "d" / "classes.json").write_text('["кошка", "собака", "лиса"]')
    for i in range(9):
        Image.new("RGB", (8, 8), (20 * i, 0, 0)).save(folder / "data" / "d" / "img" / f"{i}.png")
    truth = {"d": {str(i): i % 3 for i in range(9)}}
    (folder / "data" / "gt.json").write_text(json.dumps(truth))
    (folder / "theirs.json").write_text(json.dumps(truth))
    plain = {
        "engine": 1, "name": "tried", "measure": {"draws": 200},
        "entries": [{"name": "theirs", "predictions": "theirs.json"}],
        "data": [{"folder": "data"}], **settings,
    }  # fmt: skip
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def test_without_a_checkout_a_suite_must_be_named(engine: Engine) -> None:
    code, out, err = engine("bench")
    assert (code, out) == (2, "")
    assert "there is no benchmarks/small.yaml here" in err
    assert "engine bench SUITE.yaml" in err


def test_help_names_both_commands(engine: Engine) -> None:
    code, out, _ = engine("bench", "--help")
    assert code == 0
    assert "compare" in out
    assert "engine bench run --help" in " ".join(out.split())
    assert "--contest" in engine("bench", "run", "--help")[1]


def test_a_suite_that_is_not_there(engine: Engine) -> None:
    code, _, err = engine("bench", "nowhere.yaml")
    assert code == 2
    assert "nowhere.yaml: no such file" in err


def test_an_unknown_form_is_reported_before_anything_runs(engine: Engine, tmp_path: Path) -> None:
    code, _, err = engine("bench", suite(tmp_path), "-o", "leaderboard.pdf")
    assert code == 2
    assert (
        "leaderboard.pdf: a leaderboard is written as one of .html, .md, .csv, .json, .tex" in err
    )
    assert not (tmp_path / "build").exists()


def test_a_wrong_limit_is_reported(engine: Engine, tmp_path: Path) -> None:
    code, _, err = engine("bench", suite(tmp_path), "--limit", "much")
    assert code == 2
    assert "limits.0" in err
    assert "300MB" in err


def test_an_unknown_data_set_is_reported(engine: Engine, tmp_path: Path) -> None:
    code, _, err = engine("bench", suite(tmp_path, data=[{"dataset": {"use": "imagenet"}}]))
    assert code == 2
    assert "unknown dataset `imagenet`" in err


@pytest.mark.slow
def test_a_suite_is_run_and_written_in_every_form(engine: Engine, tmp_path: Path) -> None:
    path = suite(tmp_path)
    code, out, err = engine(
        "bench", path, "-o", "b.md", "-o", "b.csv", "-o", "b.json", "--html", "b.html",
        "--clip-benchmark", "cb", "--predictions", "answers", "--limit", "1GB",
    )  # fmt: skip
    assert code == 0, err
    assert "theirs" in out
    assert "the page: b.html" in out
    assert "theirs" in (tmp_path / "b.md").read_text()
    assert (tmp_path / "b.csv").read_text().startswith("entry,")
    leaderboard = json.loads((tmp_path / "b.json").read_text())
    assert [size_bucket["limit"] for size_bucket in leaderboard["size_buckets"]] == [10**9, None]
    assert "<!doctype html>" in (tmp_path / "b.html").read_text()
    truth = json.loads((tmp_path / "data" / "gt.json").read_text())
    assert json.loads((tmp_path / "answers" / "theirs.0.json").read_text()) == truth
    (written,) = (tmp_path / "cb").iterdir()
    assert json.loads(written.read_text())["metrics"]["acc1"] == 1.0
    code, out, _ = engine("bench", path, "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["metrics"]["accuracy"]["value"] == 100
    other = [{"name": "gone", "predictions": "gone.json"}]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "entries": other}))
    code, out, err = engine("bench", path)
    assert code == 2
    assert "FAILED gone" in out
    assert "not one entry could be evaluated" in err


def test_two_files_of_predictions_are_compared(engine: Engine, files: Path) -> None:
    code, out, _ = engine("bench", "compare", "good.json", "bad.json", "--truth", "gt.json")
    assert code == 0
    assert "Real: good.json is 75.00 points ahead of bad.json" in out
    code, out, _ = engine(
        "bench", "compare", "good.json", "good.json", "--truth", "gt.json", "--json"
    )
    loaded = json.loads(out)
    assert (loaded["real"], loaded["p"], loaded["difference"]) == (False, 1.0, 0.0)


def test_predictions_need_the_right_answers(engine: Engine, files: Path) -> None:
    code, _, err = engine("bench", "compare", "good.json", "bad.json")
    assert code == 2
    assert "--truth gt.json" in err


def test_without_a_bench_entries_cannot_be_compared(engine: Engine) -> None:
    code, _, err = engine("bench", "compare", "sber", "clip")
    assert code == 2
    assert "there is no bench in build/bench" in err


def test_strict_is_exit_code_1_where_something_is_missing(engine: Engine, tmp_path: Path) -> None:
    path = suite(tmp_path)
    assert engine("bench", path, "--strict")[0] == 0
    entries = [
        {"name": "theirs", "predictions": "theirs.json"},
        {"name": "gone", "predictions": "gone.json"},
    ]
    plain = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**plain, "entries": entries}))
    assert engine("bench", path)[0] == 0
    code, out, err = engine("bench", path, "--strict")
    assert code == 1
    assert "1 trainings or entries failed" in " ".join(err.split())
    assert "FAILED" in out
    more = {**plain, "data": [*plain["data"], {"folder": "nowhere", "optional": True}]}
    path.write_text(yaml.safe_dump(more))
    code, _, err = engine("bench", path, "--strict")
    assert code == 1
    assert "1 data sets were left out" in " ".join(err.split())


def test_compare_finds_the_only_bench(engine: Engine, tmp_path: Path) -> None:
    code, _, err = engine("bench", "compare", "a", "b")
    assert code == 2
    assert "there is no bench in build/bench" in err
    path = suite(tmp_path)
    entries = [{"name": name, "predictions": "theirs.json"} for name in ("one", "two")]
    plain = {**yaml.safe_load(path.read_text()), "entries": entries}
    path.write_text(yaml.safe_dump(plain))
    assert engine("bench", path)[0] == 0
    code, out, err = engine("bench", "compare", "one", "two")
    assert code == 0, err
    assert "A tie" in out or "same" in out
    path.write_text(yaml.safe_dump({**plain, "name": "second"}))
    assert engine("bench", path)[0] == 0
    code, _, err = engine("bench", "compare", "one", "two")
    assert code == 2
    assert "build/bench/second" in " ".join(err.split())
