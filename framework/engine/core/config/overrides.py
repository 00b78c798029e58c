"""``--set model.embed_dim=512``: settings from the command line over those of a file.

The value is YAML: ``--set data.train='{use: my_data, path: MY_DATA}'``. A number steps into a
list (``data.evaluate.0.path=...``), mappings that are not there are made. An override is laid over
what is there as one config over another (:func:`engine.core.config.nodes.lay_over`), so that
``--set model.text.use=mine`` leaves the settings of the plugin before it behind. The shorter path
is applied first, whatever the order: ``model.text.max_tokens=20`` holds beside
``model.text.use=mine``. Of two with the same path the later one holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.config.diagnostics import Diagnostic, Place, Refused, dotted, refuse
from engine.core.config.nodes import MAX_DEPTH, Node, lay_over
from engine.core.config.yaml_reader import read_text


@dataclass(frozen=True)
class Override:
    """One override, read."""

    parts: tuple[str, ...]
    value: Node


def apply_overrides(root: Node, overrides: Sequence[str], diagnostics: list[Diagnostic]) -> Node:
    """Lay overrides over a config.

    Args:
        root: the config.
        overrides: ``KEY=VALUE`` each.
        diagnostics: is added to: an override that cannot be read or applied is left out.
    """
    read = []
    for number, text in enumerate(overrides, 1):
        try:
            read.append(_read(text, Place(f"--set {number}"), diagnostics))
        except Refused as refused:
            diagnostics.append(refused.diagnostic)
    for override in sorted(read, key=_length):
        try:
            root = _set(root, override, 0)
        except Refused as refused:
            diagnostics.append(refused.diagnostic)
    return root


def _length(override: Override) -> int:
    return len(override.parts) - (override.parts[-1] == "use")


def _read(text: str, place: Place, diagnostics: list[Diagnostic]) -> Override:
    key, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in key.split("."))
    if not equals or not all(parts):
        refuse(place, f"`{text}`: expected KEY=VALUE, such as model.embed_dim=512")
    if len(parts) > MAX_DEPTH:
        refuse(place, f"nested deeper than {MAX_DEPTH} levels")
    if parts == ("extends",):
        refuse(place, "`extends` is read from the file alone", "extends")
    if value.strip() in ("", "null", "~"):
        return Override(parts, Node(None, place))
    own: list[Diagnostic] = []
    try:
        node = _moved(read_text(value, place.file, own), place)
    except Refused as refused:
        refuse(place, refused.diagnostic.what, dotted(parts))
    diagnostics += [Diagnostic(place, dotted(parts), diagnostic.what) for diagnostic in own]
    return Override(parts, node)


def _moved(node: Node, place: Place) -> Node:
    """The node with everything in it at one place: lines of an argument help nobody."""
    keys = dict.fromkeys(node.keys, place)
    if isinstance(node.value, dict):
        return Node({k: _moved(v, place) for k, v in node.value.items()}, place, keys, node.broken)
    if isinstance(node.value, list):
        return Node([_moved(v, place) for v in node.value], place, keys, node.broken)
    return Node(node.value, place, keys, node.broken)


def _set(node: Node | None, override: Override, step: int) -> Node:
    """``node`` with the override laid over it; ``step`` parts of its path lead to ``node``."""
    value, parts = override.value, override.parts
    if step == len(parts):
        return value if node is None else lay_over(node, value)
    part, place = parts[step], value.place
    if node is not None and isinstance(node.value, list):
        return _set_item(node, override, step)
    if node is not None and isinstance(node.value, str):
        node = Node({"use": node}, node.place, {"use": node.place})
    if node is None or node.value is None:
        return Node({part: _set(None, override, step + 1)}, place, {part: place})
    if not isinstance(node.value, dict):
        refuse(
            place, f"`{dotted(parts[:step])}` is {node.value}: it holds no `{part}`", dotted(parts)
        )
    if part == "use" and step == len(parts) - 1:
        return lay_over(node, Node({part: value}, node.place, {part: place}))
    changed = _set(node.value.get(part), override, step + 1)
    return Node({**node.value, part: changed}, node.place, {**node.keys, part: place}, node.broken)


def _set_item(node: Node, override: Override, step: int) -> Node:
    assert isinstance(node.value, list)
    items, part = list(node.value), override.parts[step]
    if not part.isdecimal() or len(part) > 6 or int(part) >= len(items):
        there = f"0 to {len(items) - 1}" if items else "none"
        refuse(
            override.value.place,
            f"`{dotted(override.parts[:step])}` is a list: expected the number of an item"
            f" ({there}), got `{part}`",
            dotted(override.parts),
        )
    items[int(part)] = _set(items[int(part)], override, step + 1)
    return Node(items, node.place, node.keys, node.broken)
