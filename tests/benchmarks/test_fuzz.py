"""The fuzzer in small: every mutated file gets an answer or an error; and it notices faults."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random

import pytest

from engine.errors import DataError

from .scripts import module

COUNT = 100


fuzz = module("fuzz")
kinds = module("fuzz_kinds")
mutate = module("fuzz_mutate")


def test_every_mutated_file_gets_an_answer_or_a_clear_error(tmp_path: Path) -> None:
    """100 of the 1,000 cases of `benchmarks/fuzz.py`, each kind 20 times, in its own process."""
    outcomes = list(fuzz.run(COUNT, 0, tmp_path))
    found = fuzz.summary(outcomes, 0)
    assert found["failed"] == []
    assert found["cases"] == COUNT
    for kind, ended in found["kinds"].items():
        assert ended["answer"] + ended["error"] == COUNT / len(kinds.CASES), kind
        assert ended["error"] > 0, kind
    assert sum(ended["answer"] for ended in found["kinds"].values()) > 0
    json.dumps(found, allow_nan=False)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder where the good files would be: cases that need none."""
    folder = tmp_path / "good"
    folder.mkdir()
    return folder


def _raises(error: BaseException) -> object:
    def do(*_: object) -> None:
        raise error

    return do


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ValueError("x"), "fault"),
        (MemoryError(), "fault"),
        (AssertionError("wrong"), "fault"),
        (SystemExit(2), "fault"),
        (RecursionError(), "fault"),
        (DataError("bad file"), "error"),
        (DataError(""), "fault"),
        (DataError("x" * 100_000), "fault"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_how_a_case_ends(
    good: Path, error: BaseException, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(kinds.CASES, fuzz.kind_of(3), _raises(error))
    assert fuzz.one(0, 3, good)[0] == ended
    assert [path.name for path in good.parent.iterdir()] == ["good"]


def test_a_case_that_answers(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.CASES, fuzz.kind_of(3), lambda *_: None)
    assert fuzz.one(0, 3, good) == ("answer", "")


@pytest.mark.parametrize(
    "name", ["mutate_bytes", "mutate_lines", "mutate_json", "mutate_zip", "mutate_safetensors"]
)
def test_mutations_follow_from_the_seed_and_change_something(name: str) -> None:
    data = b'{"a": [1, 2, {"b": "c"}], "d": null}\nx: 3\n'
    change = getattr(mutate, name)
    kept = copy.deepcopy(mutate.VALUES)
    first = [change(data, Random(seed)) for seed in range(300)]
    assert sum(found != data for found in first) > 240
    assert first == [change(data, Random(seed)) for seed in range(300)]
    assert kept == mutate.VALUES  # no case changes what the next one is made of
    assert change(b"", Random(1)) is not None
