"""Settings that a config writes in its own way: sizes, sources, plugins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from engine.contracts.refs import DatasetRef, ProjectionRef
from engine.contracts.settings import PluginRef, Settings
from engine.contracts.values import Bytes, SourceName, parse_bytes
from engine.errors import EngineError, PluginError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("12", 12), ("12 B", 12), ("1 GB", 10**9), ("300MB", 3 * 10**8),
        ("1GiB", 2**30), ("1.5 KiB", 1536), ("0.3 kb", 300), (" 2  tb ", 2 * 10**12),
        ("1.000000001 GB", 10**9 + 1), ("9007199254740993", 2**53 + 1),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size
    assert TypeAdapter(Bytes).validate_python(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "1 GBit", "-1 GB", "1e3", "1,5 GB", "1.5", "0.0001 kB", "١ GB", "9" * 500]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a size|not a whole number"):
        parse_bytes(text)


@given(st.text(max_size=12))
@settings(deadline=None)
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        size = parse_bytes(text)
    except ValueError:
        return
    assert isinstance(size, int)
    assert size >= 0


@pytest.mark.parametrize("name", ["scratch", "hf:a/b", "open_clip:x/y", "file:a b", "artifact:."])
def test_sources(name: str) -> None:
    assert TypeAdapter(SourceName).validate_python(name) == name


@pytest.mark.parametrize("name", ["", "Scratch", "hf:", "http://x/y", "file: x", "hf:a\nb", "x"])
def test_no_sources(name: str) -> None:
    with pytest.raises(ValidationError, match="artifact:<folder>"):
        TypeAdapter(SourceName).validate_python(name)


class Inner(Settings):
    """Of the plugin `inner`."""

    count: int = 1
    of: ProjectionRef | None = None


class Loud(Settings):
    """Of the plugin `loud`: its validator raises what the test wants."""

    error: Any = None

    def model_post_init(self, context: object) -> None:
        if self.error is not None:
            raise self.error


class FakePlugin:
    """A registered plugin whose class is its settings' own."""

    kind = "projection"

    def __init__(self, name: str, settings: type[Settings]) -> None:
        self.name, self._settings = name, settings

    def load(self) -> Callable[..., Any]:
        return lambda settings, *rest: (settings, rest)

    def load_settings(self) -> type[Settings]:
        return self._settings


class FakeRegistry:
    """Two plugins."""

    def get(self, kind: str, name: str) -> FakePlugin:
        known: dict[str, type[Settings]] = {"inner": Inner, "loud": Loud}
        if name not in known:
            raise PluginError(f"unknown {kind} `{name}`", hint="look elsewhere")
        return FakePlugin(name, known[name])


class Holder(BaseModel):
    """One plugin."""

    part: ProjectionRef


def hold(part: object) -> PluginRef:
    return Holder.model_validate({"part": part}, context={"registry": FakeRegistry()}).part


def lines(part: object) -> list[tuple[tuple[Any, ...], str, str]]:
    with pytest.raises(ValidationError) as error:
        hold(part)
    return [(e["loc"], e["type"], e["msg"]) for e in error.value.errors()]


def test_a_plugin_in_both_forms() -> None:
    assert hold("inner") == hold({"use": "inner"}) == hold(hold("inner"))
    assert hold({"use": "inner", "count": 2}) != hold("inner")
    assert hold({"use": "inner", "of": "inner"}).to_config() == {
        "use": "inner", "count": 1, "of": {"use": "inner", "count": 1, "of": None},
    }  # fmt: skip
    made, rest = hold("inner").create(3, 4)
    assert isinstance(made, Inner)
    assert rest == (3, 4)


def test_errors_keep_their_places_however_deep() -> None:
    found = lines(
        {"use": "inner", "x": 1, "of": {"use": "inner", "of": {"use": "inner", "count": "-"}}}
    )
    assert [(loc, kind) for loc, kind, _ in found] == [
        (("part", "of", "of", "count"), "int_parsing"),
        (("part", "x"), "extra_forbidden"),
    ]


@pytest.mark.parametrize(
    ("part", "kind", "words"),
    [
        (3, "use_mapping", "`{use: NAME, ...}` that names a projection"),
        (None, "use_mapping", "expected a mapping"),
        ({"count": 1}, "use_missing", "`engine plugins projection`"),
        ({"use": 3}, "use_unknown", "expected the name of a projection"),
        ("nothing", "use_unknown", "unknown projection `nothing`\nlook elsewhere"),
        ({"use": "loud", "error": KeyError("x")}, "plugin", "a fault of its own: KeyError: 'x'"),
        ({"use": "loud", "error": EngineError("sorry", hint="do")}, "plugin", "sorry\ndo"),
    ],
)
def test_what_is_said_of_a_plugin(part: object, kind: str, words: str) -> None:
    ((loc, found, message),) = lines(part)
    assert loc == ("part",)
    assert found == kind
    assert words in message


def test_without_a_registry() -> None:
    with pytest.raises(PluginError, match="no registry"):
        Holder.model_validate({"part": "inner"})


class Other(BaseModel):
    """A plugin of another kind."""

    part: DatasetRef


def test_a_reference_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a dataset, got the projection `inner`"):
        Other.model_validate({"part": hold("inner")})
