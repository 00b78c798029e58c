"""YAML to nodes: plain values only, each with its line and column.

What may be written is YAML 1.2's core schema: ``1e-4`` is a number, ``no`` is a text (which a
setting that is true or false understands all the same), ``017`` is seventeen. Refused: tags, keys
that are not texts or that stand twice, several documents, and files that are too large, too
deep, or too large once their aliases are written out. A merge key (``<<: *base``) is read as usual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from engine.core.config.diagnostics import Diagnostic, Place, refuse
from engine.core.config.nodes import MAX_DEPTH, MAX_NODES, Node, Scalar, bounded

MAX_BYTES = 256 * 1024
"""A config has some kB."""

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
"""Numbers of YAML 1.2; PyYAML's own rule reads ``1e-4`` as a text."""
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"


def read_yaml(data: bytes, file: str, diagnostics: list[Diagnostic]) -> Node:
    """Read a file.

    Args:
        data: its content.
        file: its name in messages.
        diagnostics: is added to: diagnostics after which reading goes on.

    Raises:
        Refused: it cannot be read to its end.
    """
    whole = Place(file)
    if len(data) > MAX_BYTES:
        refuse(whole, f"larger than {MAX_BYTES:,} bytes: this is not a config")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        refuse(Place(file, line, column), f"not UTF-8 (byte 0x{data[error.start]:02x})")
    return read_text(text, file, diagnostics)


def read_text(text: str, file: str, diagnostics: list[Diagnostic]) -> Node:
    """Read YAML from a text; see :func:`read_yaml`."""
    root = _Reader(text, file, diagnostics).document()
    if root is None:
        refuse(Place(file), "empty: expected a mapping of settings")
    return root


class _Reader:
    """One pass over the parser's events."""

    def __init__(self, text: str, file: str, diagnostics: list[Diagnostic]) -> None:
        self._file, self._text, self._diagnostics = file, text, diagnostics
        self._anchors: dict[str, Node | None] = {}  # None: not closed yet
        self._merged = 0  # settings copied by merge keys
        self._events = self._parse()

    def _parse(self) -> Iterator[yaml.Event]:
        try:
            yield from yaml.parse(self._text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            self._not_yaml(error)
        except yaml.reader.ReaderError as error:
            before = self._text[: error.position]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            found = self._text[error.position : error.position + 1]
            refuse(Place(self._file, line, column), f"character {found!a} is not allowed in YAML")
        except (ValueError, OverflowError):  # PyYAML: chr() of an escape such as "\UFFFFFFFF"
            refuse(Place(self._file), "not YAML: an escape in a text names no character")

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        place = Place(self._file) if mark is None else self._at(mark)
        problem = (error.problem or "it cannot be read").replace("<stream end>", "the end")
        context = f" ({error.context})" if error.context else ""
        if "'\\t'" in problem:
            context = " (indent with spaces)"
        refuse(place, f"not YAML: {problem}{context}")

    def _at(self, mark: Any) -> Place:
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _tell(self, place: Place, what: str) -> None:
        self._diagnostics.append(Diagnostic(place, "", what))

    def document(self) -> Node | None:
        """The one document; ``None`` where there is nothing."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    refuse(
                        self._at(event.start_mark),
                        "a second YAML document begins here: a config is one",
                    )
                root = self._node(next(self._events), 0)
        empty = root is not None and root.value is None and not root.broken
        return None if root is None or empty else bounded(root)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._at(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place)
        assert isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            refuse(place, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._open(event, place, depth)
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
            self._tell(place, f"tag `{shown}` is not allowed: a config holds plain values only")
            node = Node(None, place, broken=True)
        if event.anchor is not None:
            self._anchors[event.anchor] = bounded(node)
        return node

    def _open(self, event: yaml.NodeEvent, place: Place, depth: int) -> Node:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return Node(items, place)
        assert isinstance(event, yaml.ScalarEvent)
        return self._scalar(event, place)

    def _alias(self, anchor: str, place: Place) -> Node:
        if anchor not in self._anchors:
            refuse(place, f"alias `*{anchor}`: nothing before it is called `&{anchor}`")
        node = self._anchors[anchor]
        if node is None:
            refuse(place, f"alias `*{anchor}` stands inside of `&{anchor}` itself")
        return node

    def _mapping(self, place: Place, depth: int) -> Node:
        own: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        merged: list[tuple[Place, Node]] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = self._at(event.start_mark)
            merge = isinstance(event, yaml.ScalarEvent) and (event.value, event.style) == (
                _MERGE,
                None,
            )
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if merge:
                merged.append((at, value))
            elif not isinstance(key.value, str):
                if not key.broken:
                    self._tell(at, f"key {_shown(key)}: expected a text (put it in quotes)")
            elif key.value in own:
                first = keys[key.value]
                self._tell(
                    at,
                    f"key `{key.value}` stands twice: here and at {first.line}:{first.column}",
                )
            else:
                own[key.value], keys[key.value] = value, at
        return self._merge(Node(own, place, keys), merged)

    def _merge(self, node: Node, merged: list[tuple[Place, Node]]) -> Node:
        """YAML's merge key: what the mapping itself lacks comes from the named ones, in order."""
        if not merged:
            return node
        assert isinstance(node.value, dict)
        values, keys = dict(node.value), dict(node.keys)
        for at, source in merged:
            for one in source.value if isinstance(source.value, list) else [source]:
                if not isinstance(one.value, dict):
                    if not one.broken:
                        self._tell(at, "`<<` expects a mapping, or a list of them")
                    continue
                self._merged += len(one.value)
                if self._merged > MAX_NODES:
                    refuse(at, f"`<<` repeats more than {MAX_NODES:,} settings")
                for key, value in one.value.items():
                    if key not in values:
                        values[key], keys[key] = value, one.keys[key]
        return Node(values, node.place, keys)

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Node:
        if not event.implicit[0]:
            try:  # "\ud83d\ude00" is one character, as JSON writes it
                text = event.value.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                self._tell(place, "the text holds half a character (a lone surrogate)")
                return Node(None, place, broken=True)
            return Node(text, place)
        return Node(resolve(event.value), place)


def resolve(text: str) -> Scalar:
    """The value of a plain scalar, as YAML 1.2's core schema has it."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _shown(node: Node) -> str:
    if isinstance(node.value, (dict, list)):
        return "a mapping" if isinstance(node.value, dict) else "a list"
    value = node.plain()
    return "(null)" if value is None else f"`{str(value).lower()}`"
