"""YAML: what is read, what is refused, and where it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.config.diagnostics import Diagnostic, Place, Refused
from engine.core.config.nodes import MAX_DEPTH, Node
from engine.core.config.yaml_reader import MAX_BYTES, read_yaml, resolve


def read(text: str | bytes) -> Node:
    diagnostics: list[Diagnostic] = []
    node = read_yaml(text if isinstance(text, bytes) else text.encode(), "f", diagnostics)
    assert not diagnostics
    return node


def refused(text: str | bytes) -> str:
    """Everything said of a text that must not be read without complaint."""
    diagnostics: list[Diagnostic] = []
    try:
        read_yaml(text if isinstance(text, bytes) else text.encode(), "f", diagnostics)
    except Refused as error:
        diagnostics.append(error.diagnostic)
    assert diagnostics
    return "\n".join(map(str, diagnostics))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("-.5e+3", -500.0),
        ("12", 12), ("-3", -3), ("017", 17), ("0o17", 15), ("0xff", 255), ("1_000", "1_000"),
        (".inf", math.inf), ("-.Inf", -math.inf),
        ("true", True), ("FALSE", False), ("no", "no"), ("on", "on"), ("y", "y"),
        ("~", None), ("null", None), ("", None), ("none", "none"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"), (".", "."), ("e5", "e5"), ("1.2.3", "1.2.3"),
        ("=", "="), ("-", "-"),
    ],
)  # fmt: skip
def test_plain_scalars_are_yaml_1_2(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(float(str(resolve(".nan"))))


@given(st.floats(allow_nan=False) | st.integers(-(10**30), 10**30))
@settings(deadline=None)
def test_numbers_as_python_writes_them(number: float) -> None:
    text = repr(number).replace("inf", ".inf")
    assert resolve(text) == number


def test_quotes_make_texts() -> None:
    plain = read("a: '1'\nb: \"true\"\nc: 'null'\nd: ''\ne: |-\n  1e4\n").plain()
    assert plain == {"a": "1", "b": "true", "c": "null", "d": "", "e": "1e4"}


def test_every_node_knows_its_place() -> None:
    root = read("a: 1\nb:\n  - {c: д, e: [x]}\n")
    assert isinstance(root.value, dict)
    assert root.keys["b"] == Place("f", 2, 1)
    item = root.value["b"].value[0]  # type: ignore[index]
    assert item.place == Place("f", 3, 5)
    assert item.keys["e"] == Place("f", 3, 12)
    assert item.value["e"].value[0].place == Place("f", 3, 16)
    assert str(item.place) == "f:3:5"


def test_a_byte_order_mark_is_no_text() -> None:
    assert read(b"\xef\xbb\xbfa: 1").plain() == {"a": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("f:", "empty")),
        ("# nothing\n---\n", ("empty",)),
        ("a: 1\nb: 2\na: 3\n", ("f:3:1", "`a`", "twice", "1:1")),
        ("a: !!python/object/apply:os.system [x]",
         ("f:1:4", "tag `!!python/object/apply:os.system`")),
        ("a: 1\nb: !mine x", ("f:2:4", "tag `!mine`")),
        ("a: !<tag:x.org:y> x", ("tag `tag:x.org:y`",)),
        ("a: !!str 5", ("tag `!!str`",)),
        ("!!map {a: 1}", ("tag",)),
        ("a: 1\n---\nb: 2\n", ("f:2:1", "second YAML document")),
        ("1: a", ("f:1:1", "key `1`", "quotes")),
        ("{true: a}", ("key `true`",)),
        ("~: a", ("key (null)",)),
        ("? [a]\n: b", ("key a list",)),
        ("? {a: 1}\n: b", ("key a mapping",)),
        ("a: *x", ("f:1:4", "`*x`", "nothing before it")),
        ("a: &x [1, *x]", ("f:1:11", "inside of `&x`")),
        ("a:\n\tb: 1", ("f:2:1", "not YAML", "spaces")),
        ("a: [1", ("f:1:6", "not YAML", "the end")),
        ("a: b: c", ("f:1:5", "not YAML")),
        ("a: \x00", ("f:1:4", "not allowed")),
        ("x\ny: \x1b[31m", ("f:2:4", "not allowed")),
        ('a: "\\UFFFFFFFF"', ("escape",)),
        ('a: "\\ud800"', ("f:1:4", "surrogate")),
        ("%YAML 9.9\n---\na: 1", ("f:1:1", "not YAML")),
        (b"a: 1\nb: \xff", ("f:2:4", "not UTF-8", "0xff")),
        ("a: 1".encode("utf-16"), ("f:1:1", "not UTF-8")),
        ("a: {<<: 3}", ("f:1:5", "`<<`")),
        ("#" * (MAX_BYTES + 1), ("larger",)),
    ],
)  # fmt: skip
def test_refused(text: str | bytes, words: tuple[str, ...]) -> None:
    said = refused(text)
    for word in words:
        assert word in said


def test_reading_goes_on_after_a_mistake() -> None:
    said = refused("a: 1\na: 2\nb: !x y\n3: c\nd: {e: 1, e: 2}\n")
    assert len(said.splitlines()) == 4


def test_anchors_and_merge_keys() -> None:
    root = read(
        "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\n"
        "one: {<<: *b, x: 5}\nmany:\n  <<: [*b, *o]\nsame: *b\nquoted: {'<<': 1}\n"
    )
    plain = root.plain()
    assert plain["one"] == {"x": 5, "y": 2}
    assert plain["many"] == {"x": 1, "y": 2, "z": 4}
    assert plain["same"] == plain["base"]
    assert plain["quoted"] == {"<<": 1}
    assert root.value["many"].keys["z"] == Place("f", 2, 18)  # type: ignore[index, call-overload]


def bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [x]"]
    for i in range(1, levels):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(30, 9),
        "a: &a {" + ", ".join(f"k{i}" for i in range(3000)) + "}\n"
        + "".join(f"b{i}: {{<<: *a}}\n" for i in range(3000)),
        "a: &a {" + ", ".join(f"k{i}" for i in range(9000)) + "}\n"
        + "b: {<<: [" + ", ".join(["*a"] * 30000) + "]}",
    ],
    ids=["aliases", "many merges", "one long merge"],
)  # fmt: skip
def test_bombs_are_refused(text: str) -> None:
    assert "more than" in refused(text)


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "a: " + "[" * 900])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "deeper" in refused(text) or "not YAML" in refused(text)


def test_depth_through_aliases_counts() -> None:
    half = MAX_DEPTH // 2 + 2
    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}\n"
    assert "deeper" in refused(text)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner,
                      max_size=4),
    max_leaves=20,
)  # fmt: skip


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)  # YAML: 1024 with escapes


@given(st.dictionaries(KEYS, PLAIN, min_size=1))
@settings(max_examples=60, deadline=None)
def test_json_is_yaml(value: dict[str, Any]) -> None:
    assert read(json.dumps(value)).plain() == value


def only_refused(call: Callable[[], object]) -> None:
    said = ""
    try:
        call()
    except Refused as error:
        said = str(error.diagnostic)
    assert not said or said.isprintable()


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes(data: bytes) -> None:
    only_refused(lambda: read_yaml(data, "f", []))


@given(
    st.lists(
        st.sampled_from([*"abc:{}[]-,&*!|>'\"%@`#?<\n\t 0~.\\", "\n  ", ": ", "- ", "<<: *a"]),
        max_size=60,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_text_that_looks_like_yaml(parts: list[str]) -> None:
    only_refused(lambda: read_yaml("".join(parts).encode(), "f", []).plain())
