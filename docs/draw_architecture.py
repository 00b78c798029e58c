"""Draws docs/architecture.svg from the code: rings, rooms, and which room imports which.

    python docs/draw_architecture.py            # writes the picture
    python docs/draw_architecture.py --check    # exit 1 where the picture is not that of the code

The import graph is import-linter's own (grimp), type-checking imports included. A test holds the
committed picture to the code.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

PICTURE = Path(__file__).with_name("architecture.svg")

RINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("4  what people touch", ("cli", "bench", "sweep", "scaffold", "testing", "serve")),
    (
        "3  the work, one room each",
        (
            "train",
            "search",
            "evaluate",
            "exchange",
            "prepare",
            "clusters",
            "cache",
            "data",
            "report",
        ),
    ),
    ("2  config to model", ("core",)),
    ("1  contracts", ("contracts",)),
)
WIDTH, BOX, GAP, BAND = 1000, 46, 14, 118
INK, PAPER, LINE = "#1f2933", "#ffffff", "#7b8794"
FILLS = ("#fde8d7", "#e3edf7", "#e2f2e5", "#f4eafb")


def rooms() -> dict[str, set[str]]:
    """By room: the rooms of its own ring that it imports."""
    graph = grimp.build_graph("engine", exclude_type_checking_imports=False)
    ring_of = {room: number for number, (_, names) in enumerate(RINGS) for room in names}
    found: dict[str, set[str]] = {room: set() for room in ring_of}
    for module in graph.modules:
        room = _room(module)
        for other in graph.find_modules_directly_imported_by(module):
            target = _room(other)
            if room == target or room not in ring_of or ring_of.get(target) != ring_of[room]:
                continue
            found[room].add(target)
    return found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def draw() -> str:
    """The picture as SVG."""
    imports = rooms()
    height = BAND * len(RINGS) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif">',
        "<title>The four rings of engine: a ring imports inwards only</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
    ]
    for number, (title, names) in enumerate(RINGS):
        lines += _band(number, title, names, imports)
    lines.append(
        f'<text x="20" y="{height - 14}" font-size="15" fill="{INK}">A ring imports those below it'
        " only. Arrows: which room imports which room of its own ring.</text>"
    )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _band(
    number: int,
    title: str,
    names: tuple[str, ...],
    imports: dict[str, set[str]],
) -> list[str]:
    top = number * BAND + 8
    wide = (WIDTH - 40 - GAP * (len(names) - 1)) / len(names)
    left = {name: 20 + i * (wide + GAP) for i, name in enumerate(names)}
    lines = [
        f'<rect x="8" y="{top}" width="{WIDTH - 16}" height="{BAND - 8}" rx="12" '
        f'fill="{FILLS[number]}"/>',
        f'<text x="20" y="{top + 24}" font-size="17" font-weight="bold" fill="{INK}">'
        f"{escape(title)}</text>",
    ]
    for name in names:
        lines += [
            f'<rect x="{left[name]:.0f}" y="{top + 34}" width="{wide:.0f}" height="{BOX}" rx="8" '
            f'fill="{PAPER}" stroke="{LINE}"/>',
            f'<text x="{left[name] + wide / 2:.0f}" y="{top + 34 + BOX / 2 + 6:.0f}" '
            f'font-size="19" text-anchor="middle" fill="{INK}">{name}</text>',
        ]
    for name in names:
        for other in sorted(imports[name]):
            a, b = left[name] + wide / 2, left[other] + wide / 2
            low = top + 34 + BOX
            lines.append(
                f'<path d="M{a:.0f} {low} Q{(a + b) / 2:.0f} {low + 34} {b:.0f} {low + 2}" '
                f'fill="none" stroke="{LINE}" marker-end="url(#tip)"/>'
            )
    return lines


def main() -> None:
    """Write the picture, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    found = draw()
    if options.check:
        same = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == found
        sys.exit(0 if same else f"{PICTURE.name} is out of date: python docs/draw_architecture.py")
    PICTURE.write_text(found, encoding="utf-8")


if __name__ == "__main__":
    main()
