"""Pydantic's errors in the words and places of a config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from engine.contracts.settings import PluginField, Settings
from engine.core.config.diagnostics import Diagnostic, dotted
from engine.core.config.fields import Fields, fields_at
from engine.core.config.nodes import Node
from engine.errors import did_you_mean

if TYPE_CHECKING:
    from engine.core.registry import Registry

S = TypeVar("S", bound=Settings)

_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of sensible size",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "path_type": "a path",
    "none_required": "null",
    "model_type": "a mapping of settings",
    "model_attributes_type": "a mapping of settings",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} character(s)",
    "too_short": "at least {min_length} item(s)",
    "too_long": "at most {max_length} item(s)",
}
"""What was expected, by pydantic's type of error and with its context."""


def validate(
    settings: type[S], root: Node, registry: Registry, diagnostics: list[Diagnostic]
) -> S | None:
    """Settings from nodes.

    Args:
        settings: the class of the whole.
        root: what was written.
        registry: the plugins.
        diagnostics: is added to.

    Returns:
        The settings, or ``None`` where there was a diagnostic.
    """
    try:
        return settings.model_validate(root.plain(), context={"registry": registry})
    except ValidationError as error:
        lines = _without_echoes([_Line(root, line) for line in error.errors(include_url=False)])
    diagnostics += _Teller(settings, root, registry).tell(
        [line for line in lines if not line.broken]
    )
    return None


def _without_echoes(lines: list[_Line]) -> list[_Line]:
    """Leave out what only follows from another diagnostic.

    Pydantic drops a list's item that has a diagnostic in it and then counts the items that are
    left, so that a list of one item with a diagnostic would also be reported as too short.
    """
    return [line for line in lines if line.kind != "too_short" or not _echoes(line, lines)]


def _echoes(line: _Line, lines: Sequence[_Line]) -> bool:
    if line.rest:  # a default, whose own items are mistaken
        return any(other.path.startswith(f"{line.path}.") for other in lines)
    written = line.node.value
    return isinstance(written, list) and len(written) >= line.context["min_length"]


class _Line:
    """One of pydantic's errors, found in what was written.

    Attributes:
        kind: pydantic's type of the error.
        context: what pydantic says about it: bounds, expected values.
        input: what stands there.
        key: the missing or unknown key, which is not part of ``parts``.
        parts: the path as far as it was written.
        rest: the path beyond that: of a default, or the name of a union's member.
        node: what stands at ``parts``.
        broken: a diagnostic was reported about it before.
    """

    def __init__(self, root: Node, line: Mapping[str, Any]) -> None:
        self.kind: str = line["type"]
        self.context: Mapping[str, Any] = line.get("ctx", {})
        self.input, self.message = line["input"], str(line["msg"])
        loc = list(line["loc"])
        self.key = str(loc.pop()) if loc and self.kind in ("missing", "extra_forbidden") else None
        nodes, self.parts, self.rest = _follow(root, loc)
        self.node = nodes[-1]
        self.broken = any(node.broken for node in nodes)

    @property
    def path(self) -> str:
        """The dotted path to show."""
        # Below a mapping, what was not written is a default; elsewhere it names a union's member.
        rest = self.rest if isinstance(self.node.value, dict) else []
        key = [] if self.key is None else [self.key]
        return dotted([*self.parts, *rest, *key])


class _Teller:
    """Says pydantic's errors in words."""

    def __init__(self, settings: type[Settings], root: Node, registry: Registry) -> None:
        self._settings, self._root, self._registry = settings, root, registry
        self._known: dict[str, Fields] = {}

    def tell(self, lines: Sequence[_Line]) -> list[Diagnostic]:
        diagnostics: list[Diagnostic] = []
        meant: set[tuple[str, str]] = set()  # what was misspelt is missing too: once is enough
        for line in lines:
            if line.kind == "extra_forbidden":
                diagnostic, near = self._unknown(line)
                diagnostics.append(diagnostic)
                meant.add((dotted(line.parts), near))
        expected: dict[str, list[_Line]] = {}
        for line in lines:
            if line.kind == "missing":
                if (dotted(line.parts), line.key) not in meant:
                    diagnostics.append(self._missing(line))
            elif line.kind in _EXPECTED:
                expected.setdefault(line.path, []).append(line)
            elif line.kind != "extra_forbidden":
                diagnostics.append(_other(line))
        # A union says for each of its members what it expected.
        return [*diagnostics, *(_expected(same) for same in expected.values())]

    def _fields(self, line: _Line) -> Fields:
        path = dotted(line.parts)
        if path not in self._known:
            self._known[path] = fields_at(self._settings, self._root, line.parts, self._registry)
        return self._known[path]

    def _unknown(self, line: _Line) -> tuple[Diagnostic, str]:
        """The diagnostic, and the name that was meant, or nothing."""
        assert line.key is not None
        fields = self._fields(line)
        owner = "" if fields.owner is None else f" of {fields.owner}"
        more = near = did_you_mean(line.key, fields.known)
        if not more and fields.known:
            names = [f"`{name}`" for name in fields.known]
            more = f" (known: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"
        place = line.node.keys.get(line.key, line.node.place)
        meant = near.partition("`")[2].rpartition("`")[0]
        return Diagnostic(place, line.path, f"unknown key{owner}{more}"), meant

    def _missing(self, line: _Line) -> Diagnostic:
        field = self._fields(line).known.get(str(line.key))
        kinds = [m.kind for m in (field.metadata if field else ()) if isinstance(m, PluginField)]
        if kinds:
            what = f"`{{use: NAME, ...}}` names a {kinds[0]} (`engine plugins {kinds[0]}`)"
        else:
            what = (field.description if field else None) or ""
        return Diagnostic(line.node.place, line.path, f"missing{': ' if what else ''}{what}")


def _expected(lines: Sequence[_Line]) -> Diagnostic:
    """One diagnostic of what each member of a union expected."""
    words = []
    for line in lines:
        context = dict(line.context)
        if "expected" in context:
            context["expected"] = str(context["expected"]).replace("'", "`")
        words.append(_EXPECTED[line.kind].format_map(context))
    first = lines[0]
    what = f"expected {' or '.join(dict.fromkeys(words))}, got {_got(first)}"
    return Diagnostic(first.node.place, first.path, what)


def _got(line: _Line) -> str:
    value = line.input
    if line.kind in ("too_short", "too_long"):
        return str(line.context.get("actual_length"))
    if line.kind in ("literal_error", "enum") and isinstance(value, str):
        options = re.findall(r"'([^']*)'", str(line.context.get("expected", "")))
        return f"{shown(value)}{did_you_mean(value, options)}"
    quotes = line.kind == "string_type" and isinstance(value, (bool, int, float))
    return f"{shown(value)}{' (put it in quotes)' if quotes else ''}"


def _other(line: _Line) -> Diagnostic:
    """What a validator of Engine's or of a plugin's own says."""
    what = line.message.removeprefix("Assertion failed, ")
    if line.kind == "value_error":
        what = str(line.context.get("error", what))
    elif line.kind == "use_mapping" and "other" not in line.context:
        what = f"{what}, got {shown(line.input)}"
    elif line.kind == "use_unknown" and isinstance(line.node.value, dict) and not line.rest:
        return Diagnostic(line.node.value["use"].place, f"{line.path}.use", what)
    return Diagnostic(line.node.place, line.path, what)


def shown(value: object) -> str:
    """A value as a config writes it, short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return f"`{value if len(value) <= 60 else value[:59] + '…'}`"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else type(value).__name__


def _follow(
    root: Node, loc: Sequence[str | int]
) -> tuple[list[Node], list[str | int], list[str | int]]:
    """The nodes along a location, the parts that lead to them, and the parts that lead nowhere."""
    nodes, parts = [root], list[str | int]()
    for i, part in enumerate(loc):
        child = _child(nodes[-1], part)
        if child is None:
            if i + 1 < len(loc) and _child(nodes[-1], loc[i + 1]) is not None:
                continue  # the name of a union's member
            return nodes, parts, list(loc[i:])
        nodes.append(child)
        parts.append(part)
    return nodes, parts, []


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict):
        return node.value.get(str(part))
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None
