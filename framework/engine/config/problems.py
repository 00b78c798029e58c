"""Pydantic's errors in the words and places of a config."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from engine.config.fields import Fields, fields_at
from engine.config.mistakes import Mistake, Place, dotted
from engine.config.nodes import Node
from engine.contracts.settings import OfKind, Settings
from engine.errors import did_you_mean

if TYPE_CHECKING:
    from engine.registry import Registry

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
    settings: type[S], root: Node, registry: Registry, mistakes: list[Mistake]
) -> S | None:
    """Settings from nodes.

    Args:
        settings: the class of the whole.
        root: what was written.
        registry: the plugins.
        mistakes: is added to.

    Returns:
        The settings, or ``None`` where there was a mistake.
    """
    try:
        return settings.model_validate(root.plain(), context={"registry": registry})
    except ValidationError as error:
        grouped: dict[tuple[Place, str, str], list[str]] = {}
        for line in error.errors(include_url=False):
            found = _Problem(settings, root, registry, line)
            if found.broken:
                continue
            if found.expected:
                # A union says once for each of its members what it expected.
                grouped.setdefault((found.place, found.path, found.got), []).append(found.expected)
            else:
                mistakes.append(Mistake(found.place, found.path, found.what))
        for (place, path, got), expected in grouped.items():
            words = " or ".join(dict.fromkeys(expected))
            mistakes.append(Mistake(place, path, f"expected {words}{got}"))
        return None


class _Problem:
    """One error of pydantic's: its place and path, and what to say."""

    def __init__(
        self, settings: type[Settings], root: Node, registry: Registry, line: Mapping[str, Any]
    ) -> None:
        self._kind, self._line = line["type"], line
        self._context: Mapping[str, Any] = line.get("ctx", {})
        self._nodes, self._parts, self._rest = _follow(root, line["loc"])
        self.broken = any(node.broken for node in self._nodes)
        self._key: str | None = None
        self._fields = Fields({}, None)
        self.expected = self.got = ""
        if self._kind in ("missing", "extra_forbidden"):
            self._key = str(line["loc"][-1])
            if self._kind == "extra_forbidden" and self._parts:
                self._parts, self._nodes = self._parts[:-1], self._nodes[:-1]
            self._fields = fields_at(settings, root, self._parts, registry)
        elif self._kind in _EXPECTED:
            self.expected = self._expectation()
            self.got = self._got()
        self.place, self.path = self._place(), self._path()
        self.what = "" if self.expected else self._what()

    def _place(self) -> Place:
        node = self._nodes[-1]
        if self._kind == "extra_forbidden" and self._key is not None:
            return node.keys.get(self._key, node.place)
        if self._kind == "use_unknown" and isinstance(node.value, dict) and not self._rest:
            return node.value["use"].place
        return node.place

    def _path(self) -> str:
        parts = list(self._parts)
        node = self._nodes[-1]
        if self._key is not None:
            parts.append(self._key)
        elif isinstance(node.value, dict):
            # Of a default, not of the file; else it is the name of a union's member.
            parts += self._rest
            if self._kind == "use_unknown" and not self._rest:
                parts.append("use")
        return dotted(parts)

    def _what(self) -> str:
        if self._kind == "missing":
            return self._missing()
        if self._kind == "extra_forbidden":
            return self._unknown()
        if self._kind == "value_error":
            return str(self._context.get("error", self._line["msg"]))
        return str(self._line["msg"]).removeprefix("Assertion failed, ")

    def _missing(self) -> str:
        assert self._key is not None
        field = self._fields.known.get(self._key)
        kind = _kind_of(field)
        if kind is not None:
            return (
                f"missing: `{{use: NAME, ...}}` names a {kind} (`engine plugins {kind}` lists them)"
            )
        said = "" if field is None or not field.description else f": {field.description}"
        return f"missing{said}"

    def _unknown(self) -> str:
        assert self._key is not None
        known = self._fields.known
        owner = "" if self._fields.owner is None else f" of {self._fields.owner}"
        near = did_you_mean(self._key, known)
        if near or not known:
            return f"unknown key{owner}{near}"
        names = [f"`{name}`" for name in known]
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        return f"unknown key{owner} (known: {shown})"

    def _expectation(self) -> str:
        context = dict(self._context)
        if "expected" in context:
            context["expected"] = str(context["expected"]).replace("'", "`")
        return _EXPECTED[self._kind].format(**context)

    def _got(self) -> str:
        value = self._line["input"]
        if self._kind in ("literal_error", "enum") and isinstance(value, str):
            options = re.findall(r"'([^']*)'", str(self._context.get("expected", "")))
            return f", got {shown(value)}{did_you_mean(value, options)}"
        if self._kind in ("too_short", "too_long"):
            return f", got {self._context.get('actual_length')}"
        quote = self._kind == "string_type" and isinstance(value, (bool, int, float))
        return f", got {shown(value)}{' (put it in quotes)' if quote else ''}"


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


def _kind_of(field: FieldInfo | None) -> str | None:
    for mark in field.metadata if field is not None else ():
        if isinstance(mark, OfKind):
            return mark.kind
    return None
