"""Plain values that know where they stand, and how one config is laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from engine.core.config.diagnostics import Place, refuse

MAX_NODES = 50_000
"""Values of a config, each alias counted as what it stands for: an alias bomb ends here."""

MAX_DEPTH = 40
"""Mappings and lists inside each other."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Node:
    """A value of a config with its place. Never changed: aliases share nodes.

    Attributes:
        value: a scalar, a list of nodes, or nodes by key.
        place: where it begins.
        keys: of a mapping: where each key stands.
        broken: it has a diagnostic already, so what follows from it gets none.
    """

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    keys: Mapping[str, Place] = field(default_factory=dict)
    broken: bool = False

    @property
    def children(self) -> list[Node]:
        """The nodes right below."""
        if isinstance(self.value, dict):
            return list(self.value.values())
        return self.value if isinstance(self.value, list) else []

    @cached_property
    def count(self) -> int:
        """Number of values, this one and all below."""
        return 1 + sum(child.count for child in self.children)

    @cached_property
    def depth(self) -> int:
        """Mappings and lists inside each other, from here down."""
        if not isinstance(self.value, (dict, list)):
            return 0
        return 1 + max((child.depth for child in self.children), default=0)

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def use(self) -> str | None:
        """The plugin that this names, in the short form (``text: rubert``) or in the long one."""
        found = self.value
        if isinstance(found, dict):
            found = found["use"].value if "use" in found else None
        return found if isinstance(found, str) else None


def bounded(node: Node) -> Node:
    """The same node.

    Raises:
        Refused: it holds more values, or deeper ones, than any honest config.
    """
    if node.depth > MAX_DEPTH:
        refuse(node.place, f"nested deeper than {MAX_DEPTH} levels")
    if node.count > MAX_NODES:
        refuse(node.place, f"more than {MAX_NODES:,} values, aliases written out")
    return node


def lay_over(base: Node, top: Node) -> Node:
    """The config ``top`` over the config ``base``.

    Mappings are merged key by key; anything else of ``top`` (a list, a number, ``null``) replaces
    what ``base`` has. Where both name a plugin and not the same one, nothing of the base's mapping
    stays: its settings belong to the other plugin. ``text: mine`` counts as ``{use: mine}``.
    """
    base = _long_form(base, top)
    if base.use is not None:  # a word over another mapping (`text: false`, say) is that word
        top = _long_form(top, base)
    if not isinstance(base.value, dict) or not isinstance(top.value, dict):
        return top
    if base.use is not None and top.use not in (None, base.use):
        return top
    merged = dict(base.value)
    for key, node in top.value.items():
        merged[key] = lay_over(base.value[key], node) if key in base.value else node
    return Node(merged, top.place, {**base.keys, **top.keys})


def _long_form(node: Node, other: Node) -> Node:
    """``{use: NAME}`` for a ``NAME`` that meets a mapping of a plugin's settings."""
    if not isinstance(node.value, str) or not isinstance(other.value, dict):
        return node
    return Node({"use": node}, node.place, {"use": node.place})
