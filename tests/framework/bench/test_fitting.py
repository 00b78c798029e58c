"""``engine bench SUITE --fit``: every entry also made to fit, trained once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.bench.run import Bench, run_suite
from engine.bench.suite import SuiteSettings
from engine.core.build import read_artifact
from engine.core.registry import default_registry
from engine.errors import ConfigError

from .test_run import TINY

ROOT = Path(__file__).parents[3]


def suite(**settings: Any) -> SuiteSettings:
    plain = {
        "engine": 1, "name": "tried", "limits": ["1 MB"], "set": TINY,
        "entries": [{"name": "sber", "config": str(ROOT / "configs" / "tiny" / "sber.yaml")}],
        "data": [{"dataset": {"use": "shapes", "split": "test", "size": 16, "count": 24}}],
        "measure": {"draws": 500}, **settings,
    }  # fmt: skip
    return SuiteSettings.model_validate(plain, context={"registry": default_registry()})


@pytest.mark.slow
def test_every_entry_is_trained_once_and_made_to_fit(tmp_path: Path, warm_workers: None) -> None:
    whole = run_suite(suite(measure={"draws": 500, "speed": False}), tmp_path)
    size = bytes_of(whole, "sber")
    limits = [size * 2 // 3, size // 2, 1000]
    bench = run_suite(suite(fit=limits), tmp_path)
    names = [row.entry for row in bench.leaderboard.rows]
    half, third, never = (f"sber-{limit / 1000:.12g}kB" for limit in limits)
    assert sorted(names) == sorted(["sber", half, third, never])
    assert bytes_of(bench, half) <= limits[0]
    assert bytes_of(bench, third) <= limits[1]
    assert bytes_of(bench, "sber") == size
    failed = {r.entry: r.failure.what for r in bench.leaderboard.results if r.failure}
    assert list(failed) == [never]
    assert "cannot be made as small as 1,000 bytes" in failed[never]
    # A leaderboard for each limit, the fitted entry in it.
    boards = {bucket.limit: bucket for bucket in bench.leaderboard.size_buckets}
    assert set(limits) <= boards.keys()
    assert [rank.entry for rank in boards[limits[1]].ranks] == [third]
    assert len(list((tmp_path / "models").glob("sber.0.*/model"))) == 1  # trained once
    fitted = next((tmp_path / "models").glob(f"{half}.*.fitted"))
    steps = read_artifact(fitted).manifest["compression"]["steps"]
    assert steps[-1]["use"] == "storage"
    assert next(r for r in bench.leaderboard.results if r.entry == half).speed is not None
    before = fitted.stat().st_mtime_ns
    again = run_suite(suite(fit=limits[:2]), tmp_path)  # nothing is done twice
    assert fitted.stat().st_mtime_ns == before
    assert bytes_of(again, third) == bytes_of(bench, third)


def bytes_of(bench: Bench, name: str) -> int:
    size = next(row for row in bench.leaderboard.rows if row.entry == name).model_size
    assert size is not None
    return size.bytes


def test_entries_behind_the_others_one_for_each_limit() -> None:
    made = suite(fit=["25 MB", "10 MB"], entries=[
        {"name": "a", "artifact": "build/a"}, {"name": "b", "predictions": "b.json"},
        {"name": "c", "artifact": "build/c", "fit": "7 MB"},
    ])  # fmt: skip
    assert [(e.name, e.fit) for e in made.all_entries] == [
        ("a", None), ("b", None), ("c", 7_000_000), ("a-10MB", 10_000_000), ("a-25MB", 25_000_000),
    ]  # fmt: skip
    assert made.size_buckets == (1_000_000, 7_000_000, 10_000_000, 25_000_000)
    assert [made.trained_as(e) for e in made.all_entries] == ["a", "b", "c", "a", "a"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"entries": [{"name": "a", "artifact": "x"}, {"name": "a-10MB", "artifact": "y"}]},
         "an entry is called `a-10MB`, as one that `fit` makes"),
        ({"entries": [{"name": "a", "predictions": "x", "fit": "1 MB"}]}, "no model to `fit`"),
    ],
)  # fmt: skip
def test_wrong_suites(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        suite(fit=["10 MB"], **settings)


def test_the_option_gives_the_limits(tmp_path: Path) -> None:
    from engine.cli.bench import _suite

    path = tmp_path / "suite.yaml"
    path.write_text(
        "engine: 1\nname: s\nentries: [{name: a, artifact: x}]\ndata: [{folder: photographs}]\n"
    )
    made = _suite(path, [], None, "10MB, 25MB,100MB", None, None, None, contest=False)
    assert made.fit == (10_000_000, 25_000_000, 100_000_000)
    with pytest.raises(ConfigError, match=r"fit\.0: expected a size"):
        _suite(path, [], None, "large", None, None, None, contest=False)
