"""The contest's files of answers: limits that every real file satisfies, each error in one line."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.data.contest import MAX_CLASSES, read_predictions, read_truth
from engine.errors import DataError
from engine.evaluate.scores import score

BAD: dict[str, Any] = {
    "three thousand million": 3_000_000_000, "a million": MAX_CLASSES, "2^31": 2**31,
    "2^53": 2**53, "-1": -1, "true": True, "a half": 0.5, "one as a float": 1.0, "a text": "1",
    "nothing": None, "a list": [1], "an object": {"a": 1}, "a long text": "x" * 100_000,
    "a steering text": "\x1b[2J\u202e",
}  # fmt: skip
RAW = {
    "2^63": "9223372036854775808", "2^64": "18446744073709551616", "thirty digits": "9" * 30,
    "five thousand digits": "9" * 5000, "NaN": "NaN", "Infinity": "Infinity",
    "minus infinity": "-Infinity", "an infinite float": "1e999", "nested": "[" * 99_999,
}  # fmt: skip


def refused(path: Path, read: Callable[[Path], object]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 600
    assert str(path) in caught.value.message


READERS = pytest.mark.parametrize("read", [read_truth, read_predictions])


@READERS
@pytest.mark.parametrize("name", BAD)
def test_values_that_are_no_class(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"d": {"a": 0, "b": BAD[name]}}), encoding="utf-8")
    refused(path, read)


@READERS
@pytest.mark.parametrize("name", RAW)
def test_numbers_that_json_or_we_do_not_have(
    tmp_path: Path, read: Callable[[Path], object], name: str
) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"d": {"a": ' + RAW[name] + "}}", encoding="utf-8")
    refused(path, read)


@pytest.mark.parametrize(
    "value",
    [
        {f"d{i}": {"a": MAX_CLASSES // 10} for i in range(11)},
        {"x" * 100_000: 5},
        {"d": {"y" * 100_000: -1}},
        {"d": {str(i): -1 for i in range(10_000)}},
        {"\x1b[2J": {"\u202e": -1}},
        {"d": {}, "e": []},
        [], {}, 5, None, "x",
    ],
    ids=["many classes in all", "long name", "long image", "many faults", "steering", "a list",
         "empty list", "empty object", "number", "null", "text"],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    refused(path, read_predictions)


def test_what_every_real_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    value = {f"набор {i}": {f"{i}/{j}": 21_841 * j // 999 for j in range(1000)} for i in range(40)}
    path.write_text(json.dumps(value, indent=1), encoding="utf-8-sig")
    assert read_truth(path) == value
    whole = {"d": {"a": MAX_CLASSES - 1}}
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert read_truth(path) == whole


def test_names_that_utf8_cannot_hold_are_those_of_the_pictures(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"caf\udce9": {"\ud800": 1}}), encoding="utf-8")
    assert read_truth(path) == {"caf\\udce9": {"\\ud800": 1}}


@pytest.mark.parametrize(
    "index", [3_000_000_000, 2**63, 10**30, -1, 0.5, float("nan"), True, "1", None]
)
def test_scores_from_python_are_bounded_too(index: Any) -> None:
    tracemalloc.start()
    for truth, answers in (({"a": index}, {"a": 0}), ({"a": 0}, {"a": index})):
        with pytest.raises(DataError, match="class index"):
            score({"d": truth}, {"d": answers})
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_messages_stay_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suggestion compares words letter by letter: not among very many, nor of very long ones."""
    import difflib

    compared: list[int] = []
    real = difflib.get_close_matches
    monkeypatch.setattr(
        difflib, "get_close_matches",
        lambda word, known, **more: compared.append(len(word) * sum(map(len, known)))
        or real(word, known, **more),
    )  # fmt: skip
    many = {f"image {i}": 0 for i in range(100_000)}
    for truth, answers in (
        ({"d": many}, {"d": {"imag": 0}}),
        ({"d": {"x" * 100_000: 0}}, {"d": {"x" * 100_001: 0}}),
        ({f"set {i}" * 100: {"a": 0} for i in range(5000)}, {"se": {"a": 0}}),
        ({"d" * 100_000: {"a": 0}}, {"e" * 100_000: {"a": 0}}),
    ):
        with pytest.raises(DataError) as caught:
            score(truth, answers)
        assert len(str(caught.value)) < 1000
    assert sum(compared) < 10_000_000
