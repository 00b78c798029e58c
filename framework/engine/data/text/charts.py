"""Charts as inline SVG, drawn for a card of about 360 pixels: readable on a phone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 360, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 24
_BARS = 40

STYLE = """
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .bar { fill: var(--bar); }
svg .curve { fill: none; stroke: var(--bar); stroke-width: 2; stroke-linejoin: round; }
svg .law { fill: none; stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 4 4; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .7rem 0 0; padding: 0;
  list-style: none; font-size: .85rem; font-variant-numeric: tabular-nums; }
.legend i { display: inline-block; width: .7rem; height: .7rem; margin-right: .4rem;
  border-radius: 3px; }
.legend b { font-weight: 600; }
"""


def human(value: float) -> str:
    """``1.2M``, ``35k``, ``7``: at most three digits."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.2g}"


def percent(value: float) -> str:
    """A share in percent, small ones with the digits that they need."""
    if value == 0 or value >= 0.1:
        return f"{100 * value:.0f}%"
    if value >= 0.001:
        return f"{100 * value:.1f}%"
    return "<0.1%"


def _steps(top: float) -> list[float]:
    """A few round values from 0 up to ``top``."""
    if top <= 0:
        return [0.0]
    raw = top / 4
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * f for f in (1, 2, 5, 10) if size * f >= raw)
    return [step * i for i in range(int(top / step + 1e-9) + 1)]


def _svg(label: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _grid(values: list[float], top: float, label: str = "") -> list[str]:
    parts = []
    for value in values:
        y = _y(value / top if top else 0)
        name = f"{100 * value:.4g}%" if label == "%" else human(value)
        parts.append(
            f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    return parts


def binned(histogram: Counter[int]) -> list[tuple[int, int, int]]:
    """At most 41 bins (from, to, count) of a histogram; the last takes the longest 0.5 %.

    Where that is more than one value beyond the others, ``to`` of the last bin is its maximum.
    """
    total, seen, cut = histogram.total(), 0, 0
    for value in sorted(histogram):
        seen, cut = seen + histogram[value], value
        if seen >= 0.995 * total:
            break
    low, high = min(histogram), max(histogram)
    width = max(1, math.ceil((cut - low + 1) / _BARS))
    bins = [[start, start + width - 1, 0] for start in range(low, cut + 1, width)]
    rest = 0
    for value, count in histogram.items():
        place = (value - low) // width
        if place < len(bins):
            bins[place][2] += count
        else:
            rest += count
    found = [(a, b, count) for a, b, count in bins]
    return [*found, (found[-1][1] + 1, high, rest)] if rest else found


def histogram(counts: Counter[int], label: str) -> str:
    """Bars of shares in percent; the last one takes the long tail (`30+`)."""
    bins = binned(counts)
    total = counts.total()
    top = max(count for *_, count in bins) / total
    room = (WIDTH - _LEFT - _RIGHT) / len(bins)
    parts = _grid(_steps(top), top, "%")
    every = math.ceil(len(bins) / 8)
    tail = bins[-1][1] > bins[-1][0] + (bins[0][1] - bins[0][0])
    for i, (low, high, count) in enumerate(bins):
        last = i == len(bins) - 1
        name = str(low) if low == high else f"{low}–{high}"
        y, x = _y(count / total / top), _LEFT + i * room
        gap = min(2.0, room * 0.15)
        parts.append(
            f'<rect class="bar" x="{x + gap / 2:.1f}" y="{y:.1f}" width="{room - gap:.1f}"'
            f' height="{HEIGHT - _BOTTOM - y:.1f}" rx="1.5">'
            f"<title>{name}: {count:,} ({percent(count / total)})</title></rect>"
        )
        if (i % every == 0 and len(bins) - 1 - i >= every / 2) or last:
            shown = f"{low}+" if last and tail else str(low)
            parts.append(
                f'<text x="{x + room / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{shown}</text>'
            )
    return _svg(label, parts)


def curve(points: Sequence[tuple[int, int]], law: tuple[float, float] | None, label: str) -> str:
    """A growing curve from the origin, with Heaps' law beside it."""
    right = points[-1][0]
    highest = points[-1][1] if law is None else max(points[-1][1], law[0] * right ** law[1])
    top = highest * 1.05

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x / right * (WIDTH - _LEFT - _RIGHT):.1f},{_y(min(1, y / top)):.1f}"

    parts = _grid(_steps(top), top)
    for value in _steps(right)[1:]:
        x = _LEFT + value / right * (WIDTH - _LEFT - _RIGHT)
        anchor = "end" if x > WIDTH - 30 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{human(value)}</text>'
        )
    line = " ".join(place(x, y) for x, y in [(0, 0), *points])
    parts.append(f'<polyline class="curve" points="{line}"/>')
    if law is not None:
        fitted = " ".join(place(x, law[0] * x ** law[1]) for x, _ in points)
        parts.append(f'<polyline class="law" points="{fitted}"/>')
    return _svg(label, parts)


def shares(parts: Sequence[tuple[str, float]], label: str) -> str:
    """One bar cut into shares, and what each colour is."""
    shown, x = [], 0.0
    for i, (name, share) in enumerate(parts):
        if share <= 0:
            continue
        wide = share * WIDTH
        shown.append(
            f'<rect x="{x:.2f}" y="0" width="{max(wide, 0.5):.2f}" height="30"'
            f' style="fill:var(--c{i % 6})"><title>{escape(name)}: {percent(share)}</title></rect>'
        )
        x += wide
    legend = "".join(
        f'<li><i style="background:var(--c{i % 6})"></i>{escape(name)} <b>{percent(share)}</b></li>'
        for i, (name, share) in enumerate(parts)
        if share > 0
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} 30" role="img" aria-label="{escape(label)}">'
        f'{"".join(shown)}</svg><ul class="legend">{legend}</ul>'
    )
