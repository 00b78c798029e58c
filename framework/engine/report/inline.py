"""A drawing of matplotlib as part of a page: its colours follow the page, its marks have titles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2s
from xml.etree import ElementTree

from markupsafe import Markup

from engine.report.colours import LIGHT

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_MARKS = frozenset({f"{{{_SVG}}}path", f"{{{_SVG}}}use"})
_TOKENS = {value: f"var(--{name})" for name, value in LIGHT.items()}
_FONT = re.compile(r"font: (?:[a-z0-9]+ )*?([\d.]+)px [^;]*")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_NUMBER = re.compile(r"(-?\d+\.\d)\d+")


def inline(
    svg: bytes, label: str, titles: Mapping[str, Sequence[str]], own: Mapping[str, tuple[str, str]]
) -> Markup:
    """The ``<svg>`` element for a page.

    Args:
        svg: what matplotlib wrote, in the light colours of the stylesheet.
        label: what a screen reader says.
        titles: by the id of a group, what each mark in it shows under the pointer.
        own: by the id of a group, its class and its CSS colour, where it has one: its
            fill becomes ``var(--own)``.
    """
    root = ElementTree.fromstring(svg)
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata" or child.find(f"{{{_SVG}}}style") is not None:
            root.remove(child)
    prefix = "i" + blake2s(svg + label.encode(), digest_size=4).hexdigest()
    for group in root.iter(f"{{{_SVG}}}g"):
        name = group.get("id", "")
        if name in own:
            _owned(group, *own[name])
        if name in titles:
            _titled(group, titles[name])
    for element in root.iter():
        _cleaned(element, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return Markup(_written(root))


def _owned(group: ElementTree.Element, kind: str, colour: str) -> None:
    group.set("class", kind)
    if not colour:
        return
    style = ""
    for element in group.iter():
        if element is not group:  # all marks of a group look the same: it is said once
            style = _COLOUR.sub("var(--own)", element.attrib.pop("style", style))
    group.set("style", f"--own: {colour}; {style}")


def _titled(group: ElementTree.Element, titles: Sequence[str]) -> None:
    definitions = {id(mark) for found in group.iter(f"{{{_SVG}}}defs") for mark in found.iter()}
    marks = [m for m in group.iter() if m.tag in _MARKS and id(m) not in definitions]
    for mark, title in zip(marks, titles, strict=True):
        ElementTree.SubElement(mark, f"{{{_SVG}}}title").text = title


def _cleaned(element: ElementTree.Element, prefix: str) -> None:
    """Colours by name, the page's font, one decimal, ids that no other chart has."""
    attributes = element.attrib
    if "style" in attributes:
        style = _FONT.sub(r"font-size: \1px", attributes["style"])
        attributes["style"] = _COLOUR.sub(lambda c: _TOKENS.get(c[0], c[0]), style)
    if "d" in attributes:
        attributes["d"] = _NUMBER.sub(r"\1", attributes["d"].replace("\n", ""))
    for name in ("x", "y", "transform"):
        if name in attributes:
            attributes[name] = _NUMBER.sub(r"\1", attributes[name])
    if _LINK in attributes:
        attributes["href"] = f"#{prefix}{attributes.pop(_LINK)[1:]}"
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("url(#", f"url(#{prefix}")
    if "id" in attributes:
        if element.tag == f"{{{_SVG}}}g":
            del attributes["id"]
        else:
            attributes["id"] = prefix + attributes["id"]
    for place in ("text", "tail"):
        if not (getattr(element, place) or "x").strip():
            setattr(element, place, None)


def _written(root: ElementTree.Element) -> str:
    """As HTML wants it: no prefixes, every element closed."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
