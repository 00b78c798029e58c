from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.bench.suite import SuiteSettings, load_suite
from engine.core.config import load_config
from engine.errors import ConfigError

ENTRY = {"name": "a", "config": "configs/tiny/sber.yaml"}
DATA = {"dataset": {"use": "shapes", "split": "test"}}


def load(tmp_path: Path, **settings: object) -> SuiteSettings:
    plain = {"engine": 1, "name": "tried", "entries": [ENTRY], "data": [DATA], **settings}
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    return load_suite(path)


def refused(tmp_path: Path, **settings: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **settings)
    return str(caught.value)


def test_what_is_not_said_has_the_contest_tiers(tmp_path: Path) -> None:
    suite = load(tmp_path)
    assert suite.size_buckets == (50 * 10**6, 150 * 10**6, 500 * 10**6, 10**9)
    assert (suite.seeds, suite.threads, suite.jobs) == ((0,), 1, 1)


def test_tiers_are_sorted_and_each_once(tmp_path: Path) -> None:
    assert load(tmp_path, limits=["1 GB", "1MB", 10**9]).size_buckets == (10**6, 10**9)


def test_entries_override_the_suite_and_the_seed_overrides_both(tmp_path: Path) -> None:
    entry = {**ENTRY, "set": {"model.embed_dim": 64, "data": {"train": "digits"}}}
    common = {"data.train": "shapes", "model.embed_dim": 32, "seed": 9}
    suite = load(tmp_path, entries=[entry], set=common)
    config = load_config(
        Path(__file__).parents[3] / ENTRY["config"], suite.overrides_of(suite.entries[0], 3)
    )
    assert config.model.embed_dim == 64
    assert config.data.train is not None
    assert config.data.train.name == "digits"
    assert config.seed == 3


@pytest.mark.parametrize("name", ["small", "contest"])
def test_the_shipped_suites_are_read(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    suite = load_suite(root / "benchmarks" / f"{name}.yaml")
    assert len(suite.entries) >= 6
    for entry in suite.entries:
        load_config(entry.path, suite.overrides_of(entry, 0))


def test_your_own_data_are_put_into_the_contest_suite(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    mine = ["set.data.train.path=mine", "data.0.folder=evaluated"]
    suite = load_suite(root / "benchmarks" / "contest.yaml", mine)
    assert suite.data[0].folder == Path("evaluated")
    config = load_config(suite.entries[0].path, suite.overrides_of(suite.entries[0], 0))
    assert config.data.train is not None
    assert config.data.train.to_config()["path"] == "mine"


def test_only_configs_have_seeds(tmp_path: Path) -> None:
    entries = [ENTRY, {"name": "b", "artifact": "build/b"}, {"name": "c", "predictions": "c.json"}]
    suite = load(tmp_path, entries=entries, seeds=[4, 5])
    assert [suite.seeds_of(entry) for entry in suite.entries] == [(4, 5), (0,), (0,)]


def test_no_entry_is_reported(tmp_path: Path) -> None:
    message = refused(tmp_path, entries=[])
    assert "suite.yaml" in message
    assert "entries: expected at least 1 item" in message


def test_two_entries_of_one_name_are_reported(tmp_path: Path) -> None:
    message = refused(tmp_path, entries=[ENTRY, {**ENTRY, "set": {"seed": 1}}])
    assert "two entries are called `a`" in message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "a"}, "exactly one of `config`, `artifact` and `predictions`"),
        ({**ENTRY, "artifact": "build/a"}, "exactly one of"),
        ({"name": "a", "artifact": "build/a", "set": {"seed": 1}}, "belong to a `config`"),
        ({"name": "a b", "config": "x.yaml"}, "name"),
        ({**ENTRY, "confg": 1}, "did you mean `config`"),
    ],
)
def test_wrong_entries_are_reported(tmp_path: Path, entry: dict[str, object], words: str) -> None:
    assert words in refused(tmp_path, entries=[entry])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "exactly one of `dataset` and `folder`"),
        ({**DATA, "folder": "x"}, "exactly one of"),
        ({"dataset": {"use": "shaps"}}, "did you mean `shapes`"),
        ({"folder": "x", "name": "y"}, "names its data sets itself"),
        ({**DATA, "templates": ["a picture"]}, "exactly once"),
        ({**DATA, "only": ["x"]}, "of a `folder`"),
    ],
)
def test_wrong_data_are_reported(tmp_path: Path, data: dict[str, object], words: str) -> None:
    assert words in refused(tmp_path, data=[data])


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, entries=[{"name": "a"}], data=[{}], jobs=0)
    assert all(place in message for place in ("entries.0", "data.0", "jobs"))
