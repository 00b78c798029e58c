"""Manifests and JSON from outside: a value of another type, or beyond any measure, is reported."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.artifact import check_replaceable, read_manifest
from engine.core.build import Built
from engine.core.manifest import parse_manifest
from engine.core.strict_json import parse_json
from engine.errors import ArtifactError
from engine.evaluate.predictor import random_weights

DIGEST = "0" * 64
GOOD: dict[str, Any] = {
    "format": 1,
    "engine": "0.1",
    "name": "x",
    "weights": {
        "vision": {
            "source": "hf:x/y",
            "initialised": "random",
            "reason": "no network",
            "warnings": ["another activation"],
        }
    },
    "tokenizer": {"origin": "hf:x/y was not reachable", "vocab_size": 100, "warnings": ["case"]},
    "clusters": {"count": 3, "warnings": ["clusters: few"]},
    "stages": [{"name": "all", "loss": 0.5, "scores": {}}],
    "scores": {"accuracy": 50.0},
    "plugins": [{"kind": "loss", "name": "clip"}],
    "num_parameters": 100,
    "num_buffers": 0,
    "files": {"config.yaml": {"sha256": DIGEST, "bytes": 3}},
}


def write(path: Path, value: Any) -> Path:
    text = value if isinstance(value, str) else json.dumps(value)
    path.write_text(text, encoding="utf-8")
    return path


def changed(place: str, value: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    *parents, last = place.split("/")
    target = document
    for key in parents:
        target = target[int(key) if isinstance(target, list) else key]
    target[int(last) if isinstance(target, list) else last] = value
    return document  # type: ignore[no-any-return]


def test_a_good_one_is_given_as_it_is(tmp_path: Path) -> None:
    more = {**GOOD, "note": {"of": ["another", 1.5, None]}}
    assert parse_manifest(write(tmp_path / "engine.json", more)) == more


WRONG: list[tuple[str, Any]] = [
    ("format", 0), ("format", -1), ("format", True), ("format", "1"), ("format", 1.0),
    ("format", None), ("format", 99), ("format", 10**300),
    ("engine", 3), ("name", ["x"]), ("name", None), ("name", "x" * 1_000_000),
    ("weights", []), ("weights", {"vision": None}), ("weights", {"vision": "scratch"}),
    ("weights/vision/source", 3), ("weights/vision/initialised", None),
    ("weights/vision/reason", {"a": 1}), ("weights/vision/warnings", 3),
    ("weights/vision/warnings", None), ("weights/vision/warnings", [3]),
    ("tokenizer", None), ("tokenizer/warnings", 0.5), ("tokenizer/warnings", "case"),
    ("clusters", None), ("clusters/warnings", None), ("weights", None), ("plugins", None),
    ("stages", None), ("scores", None),
    ("tokenizer", "bpe"), ("tokenizer/origin", 3), ("tokenizer/vocab_size", "many"),
    ("tokenizer/vocab_size", -1), ("tokenizer/vocab_size", 2**63),
    ("tokenizer/vocab_size", 1.5), ("tokenizer/vocab_size", True),
    ("clusters", 3), ("clusters/warnings", "few"), ("clusters/warnings", [3]),
    ("stages", {}), ("stages", 3), ("stages", ["all"]), ("scores", []), ("scores", 3),
    ("plugins", {}), ("plugins", [3]), ("plugins", [{"kind": 3}]),
    ("num_parameters", -1), ("num_parameters", 10**30), ("num_parameters", "1"),
    ("num_buffers", 1.5), ("num_buffers", None),
    ("files", []), ("files", None), ("files", {"config.yaml": 3}),
    ("files", {"../../etc/passwd": {"sha256": DIGEST, "bytes": 3}}),
    ("files", {"/etc/passwd": {"sha256": DIGEST, "bytes": 3}}),
    ("files", {"a\nb": {"sha256": DIGEST, "bytes": 3}}),
    ("files", {"config.yaml\n": {"sha256": DIGEST, "bytes": 3}}),
    ("files", {"": {"sha256": DIGEST, "bytes": 3}}),
    ("files", {f"f{i}": {"sha256": DIGEST, "bytes": 3} for i in range(2000)}),
    ("files/config.yaml/sha256", DIGEST[:-1]), ("files/config.yaml/sha256", "Z" * 64),
    ("files/config.yaml/sha256", None), ("files/config.yaml/bytes", -1),
    ("files/config.yaml/bytes", 2**63), ("files/config.yaml/bytes", "3"),
    ("files/config.yaml/bytes", 3.5), ("files/config.yaml/bytes", None),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: repr(value)[:40])
def test_a_wrong_value_is_reported_in_one_short_line(
    tmp_path: Path, place: str, value: Any
) -> None:
    path = write(tmp_path / "engine.json", changed(place, value))
    for read in (parse_manifest, lambda path: read_manifest(path.parent)):
        with pytest.raises(ArtifactError) as caught:
            read(path)
        message = caught.value.message
        assert str(tmp_path) in message
        assert len(message.removeprefix(str(path))) < 400
        assert message.isprintable()
    with pytest.raises(ArtifactError):  # what is not known to be ours is not replaced
        check_replaceable(tmp_path)


ODD: list[Any] = [None, True, -1, 0, 3, 2**63, 0.5, "", "x", "random", [], [3], ["x"], {}, {"a": 1}]


def places(value: Any, place: str = "") -> Iterator[str]:
    if place:
        yield place
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from places(inner, f"{place}/{key}".lstrip("/"))


def test_any_value_at_any_place_is_refused_or_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    nothing: Any = None
    refused = 0
    for place in places(GOOD):
        for value in ODD:
            write(path, changed(place, value))
            try:
                manifest = parse_manifest(path)
            except ArtifactError:
                refused += 1
                continue
            warnings = Built(nothing, nothing, nothing, manifest).warnings
            assert all(isinstance(line, str) for line in [*warnings, *random_weights(manifest)])
    assert refused > 200


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "3", "[]", '"x"', "{}", "\ufeff", "[" * 100_000, '{"a":' * 100_000,
        json.dumps(GOOD)[:-5], json.dumps(GOOD) + "x",
        json.dumps(GOOD).replace("0.5", "NaN"), json.dumps(GOOD).replace("0.5", "Infinity"),
        json.dumps(GOOD).replace("0.5", "-Infinity"), json.dumps(GOOD).replace("0.5", "1e999"),
        json.dumps(GOOD).replace("0.5", "9" * 5000), json.dumps(GOOD).replace("all", "\\ud800"),
        json.dumps(GOOD).replace('"name": "x"', '"name": "x", "name": "y"'),
    ],
)  # fmt: skip
def test_what_is_not_json_of_ours(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "engine.json", text)
    with pytest.raises(ArtifactError, match=r"engine\.json is damaged"):
        parse_manifest(path)


def test_bytes_that_are_not_text_and_too_many_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "engine.json"
    path.write_bytes(json.dumps(GOOD).replace("0.1", "\xff").encode("latin-1"))
    with pytest.raises(ArtifactError, match="is damaged"):
        parse_manifest(path)
    monkeypatch.setattr("engine.core.manifest.MAX_BYTES", 100)
    with pytest.raises(ArtifactError, match="more than 100 bytes"):
        parse_manifest(path)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_plain_json_is_read_as_python_reads_it(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert parse_json(text.encode()) == json.loads(text)


@given(plain, st.sampled_from([math.nan, math.inf, -math.inf, "\ud800", "a\udfffb"]))
def test_what_other_readers_refuse_is_refused_at_any_place(value: Any, bad: Any) -> None:
    for document in ([value, bad], {"a": [value, {"b": bad}]}, {"a": value, "b": [[bad]]}, [[bad]]):
        with pytest.raises(ValueError, match=r"\w"):
            parse_json(json.dumps(document).encode("utf-8", "surrogatepass"))
