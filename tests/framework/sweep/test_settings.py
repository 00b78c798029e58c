"""SWEEP.yaml, and the trials that follow from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import ConfigError
from engine.sweep.report import short_keys
from engine.sweep.settings import HalvingSettings, SweepSettings, load_sweep
from engine.sweep.trials import combinations, make_trials

LITTLE = {
    "engine": 1, "name": "little",
    "model": {
        "embed_dim": 8,
        "vision": {"use": "small_vit", "image_size": 16, "convolutions": 2, "width": 8, "layers": 1,
                   "heads": 2},
        "text": {"use": "gpt3small", "width": 8, "layers": 1, "heads": 1, "vocab_size": 400,
                 "max_tokens": 8, "n_positions": 16, "tokenizer": {"use": "trained"}},
        "projection": {"vision": {"use": "residual"}, "text": {"use": "residual"}},
    },
    "data": {
        "train": {"use": "shapes", "count": 96, "size": 16},
        "evaluate": [{"use": "shapes", "count": 40, "size": 16, "split": "test"}],
    },
    "train": {
        "device": "cpu", "threads": 1, "loggers": [],
        "stages": [{"name": "all", "trains": {"text": True, "vision": True}, "epochs": 3,
                    "batch_size": 32, "optimizer": {"use": "adamw", "lr": 1e-3}}],
    },
}  # fmt: skip


def sweep_of(**settings: Any) -> SweepSettings:
    base = {"engine": 1, "name": "s", "config": "little.yaml"}
    return SweepSettings.model_validate({**base, **settings})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "little.yaml"
    path.write_text(json.dumps(LITTLE), encoding="utf-8")
    return path


def test_a_grid_is_every_combination_in_order() -> None:
    sweep = sweep_of(keys={"a": [1, 2], "b": ["x", "y", "z"]})
    found = list(combinations(sweep))
    assert found[:3] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1, "b": "z"}]
    assert len(found) == sweep.combinations == 6


@given(
    low=st.floats(1e-6, 1e3), factor=st.floats(1.01, 1e4), log=st.booleans(),
    trials=st.integers(1, 30), draw=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_random_draws_lie_in_their_range(
    low: float, factor: float, log: bool, trials: int, draw: int
) -> None:
    high = low * factor
    values = {"low": low, "high": high, "log": log}
    sweep = sweep_of(keys={"lr": values, "n": {"low": 2, "high": 9}}, trials=trials, draw=draw)
    found = list(combinations(sweep))
    assert len(found) <= trials
    for each in found:
        assert low <= each["lr"] <= high
        assert isinstance(each["n"], int)
        assert 2 <= each["n"] <= 9
    longer = sweep_of(keys={"lr": values, "n": {"low": 2, "high": 9}}, trials=trials + 5, draw=draw)
    assert list(combinations(longer))[: len(found)] == found
    assert len({json.dumps(each) for each in found}) == len(found)


def test_few_values_are_each_drawn_once() -> None:
    found = list(combinations(sweep_of(keys={"a": [1, 2, 3]}, trials=50)))
    assert sorted(each["a"] for each in found) == [1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keys": {}}, "at least 1"),
        ({"keys": {"a": {"low": 1, "high": 2}}}, "`trials` says how many"),
        ({"keys": {"a": {"low": 3, "high": 2}}, "trials": 2}, "must be below"),
        ({"keys": {"a": {"low": 0, "high": 2, "log": True}}, "trials": 2}, "begins above 0"),
        ({"keys": {"seed": [1, 2]}}, "write `seeds`"),
        ({"keys": {"limits.weights": [1, 2]}}, "write `limit`"),
        ({"keys": {"a": [1]}, "seeds": [1, 1]}, "a seed stands twice"),
        ({"keys": {"a": list(range(200)), "b": list(range(200))}}, "are not tried"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        sweep_of(**settings)
    assert words in str(caught.value)


def test_shares_of_the_rungs() -> None:
    assert HalvingSettings(rungs=3, factor=2).shares() == (0.25, 0.5, 1.0)
    assert HalvingSettings(rungs=1).shares() == (1.0,)


def test_keys_are_shown_as_short_as_they_can_be_told_apart() -> None:
    assert short_keys(["train.stages.0.optimizer.lr", "model.embed_dim"]) == ["lr", "embed_dim"]
    assert short_keys(["model.vision.width", "model.text.width"]) == ["vision.width", "text.width"]


def test_trials_over_the_limit_are_refused_by_their_exact_bytes(config: Path) -> None:
    sweep = sweep_of(config=config, keys={"model.text.width": [8, 64, 16]}, limit="60 kB")
    trials = make_trials(sweep, config.parent / "cache")
    assert [bool(trial.configs) for trial in trials] == [True, False, True]
    assert all(trial.bytes is not None for trial in trials)
    assert trials[1].bytes is not None
    assert trials[1].bytes > 60_000
    assert "60,000 are allowed" in trials[1].refused


def test_a_combination_that_is_no_config_is_a_row_of_its_own(config: Path) -> None:
    sweep = sweep_of(config=config, keys={"model.vision.heads": [1, 3]})
    trials = make_trials(sweep, config.parent / "cache")
    assert [bool(trial.configs) for trial in trials] == [True, False]
    assert "heads" in trials[1].refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keys": {"model.nothing": [1, 2]}}, "nothing"),
        ({"keys": {"model.embed_dim": [8]}, "set": {"data.evaluate": []}}, "`data.evaluate` names"),
        ({"keys": {"model.embed_dim": [8]}, "set": {"train": None}}, "cannot be trained"),
    ],
)
def test_a_sweep_without_a_trial_is_an_error(
    config: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        make_trials(sweep_of(config=config, **settings), config.parent / "cache")


def test_mistakes_in_the_file_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "engine: 1\nname: s\nconfig: c.yaml\nkeys: {a: [1]}\nhalvign: {rungs: 2}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"sweep\.yaml:5.*halvign.*did you mean `halving`"):
        load_sweep(path)
