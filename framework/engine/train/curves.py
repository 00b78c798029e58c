"""A run's curves as one HTML page of its own: inline SVG, no script, nothing from elsewhere."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from engine.core.files import write_text
from engine.train.history import Story

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 220, 64, 28, 14
_COLOURS = ("#2f6fdf", "#d1495b", "#3a9d5d", "#b8860b", "#7d4fc4", "#008b8b")

Series = Sequence[tuple[int, float]]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:800px;padding:0 1em;color:#222;
background:#fff}h1{font-size:1.4em}h2{font-size:1.05em;margin:1.6em 0 .2em}
table{border-collapse:collapse;width:100%}td,th{padding:.3em .6em;text-align:right;
border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
svg{width:100%;height:auto}svg text{font-size:11px;fill:#555}.grid{stroke:#e4e4e4}
.stage{stroke:#999;stroke-dasharray:3 3}li{color:#444}
@media(prefers-color-scheme:dark){body{background:#181a1b;color:#ddd}svg text{fill:#aaa}
.grid{stroke:#333}td,th{border-color:#333}li{color:#bbb}}
"""


def write_page(path: Path, name: str, story: Story) -> None:
    """Write the page of a run.

    Raises:
        OSError: it cannot be written.
    """
    write_text(path, page(name, story))


def page(name: str, story: Story) -> str:
    """The page as HTML."""
    borders = _borders(story)
    charts: list[tuple[str, dict[str, Series], bool]] = [
        ("Loss, mean since the last point", {"loss": story.series("loss")} | _parts(story), False),
        ("Accuracy in percent", _named(story, "accuracy"), False),
        ("Learning rate", {"lr": story.series("lr")}, False),
        ("Samples a second", {"samples_per_second": story.series("samples_per_second")}, True),
        ("Factor on cosines", {"scale": story.series("scale")}, False),
        ("Routing", _named(story, "rout"), False),
    ]
    drawn = [
        f"<h2>{html.escape(title)}</h2>{chart(series, borders, zero=zero)}"
        for title, series, zero in charts
        if any(series.values())
    ]
    notes = "".join(f"<li>step {step}: {html.escape(text)}</li>" for step, text in story.notes)
    title = html.escape(name)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><h1>{title}</h1>{_table(story)}{''.join(drawn)}"
        f"<h2>What happened</h2><ul>{notes}</ul></html>\n"
    )


def _named(story: Story, start: str) -> dict[str, Series]:
    names = dict.fromkeys(n for point in story.points for n in point if n.startswith(start))
    return {name: story.series(name) for name in names}


def _parts(story: Story) -> dict[str, Series]:
    return _named(story, "loss_")


def _borders(story: Story) -> list[int]:
    return [int(stage["step"]) for stage in story.stages[:-1]]


def _table(story: Story) -> str:
    if not story.stages:
        return "<p>No stage is over yet.</p>"
    rows = []
    for stage in story.stages:
        accuracy = stage["scores"].get("accuracy")
        cells = (
            stage["name"], stage["epochs"], f"{stage['steps']:,}", f"{stage['parameters']:,}",
            f"{stage['samples_per_second']:,.0f}", f"{stage['seconds']:,.1f}",
            "-" if stage["loss"] is None else f"{stage['loss']:.4f}",
            "-" if accuracy is None else f"{accuracy:.2f} %",
        )  # fmt: skip
        rows.append("".join(f"<td>{html.escape(str(cell))}" for cell in cells))
    heads = ("stage", "epochs", "steps", "parameters", "samples/s", "seconds", "loss", "accuracy")
    top = "".join(f"<th>{head}" for head in heads)
    return f"<table><tr>{top}{''.join(f'<tr>{row}' for row in rows)}</table>"


def chart(series: dict[str, Series], borders: Sequence[int], *, zero: bool = False) -> str:
    """Lines over steps as SVG.

    Args:
        series: points of each line by its name.
        borders: steps at which a stage ended.
        zero: begin the scale at 0.
    """
    points = [point for line in series.values() for point in line]
    most_x = max(1, *(x for x, _ in points), *borders)
    low, high = min(y for _, y in points), max(y for _, y in points)
    if zero:
        low = min(0.0, low)
    if high - low < 1e-12:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)

    def x_of(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - 8) * step / most_x

    def y_of(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role=img>']
    for value in ticks(low, high):
        y = y_of(value)
        parts.append(f'<line class=grid x1={_LEFT} x2={_WIDTH - 8} y1="{y:.1f}" y2="{y:.1f}" />')
        parts.append(f'<text x={_LEFT - 6} y="{y + 4:.1f}" text-anchor=end>{value:.4g}</text>')
    for value in ticks(0, most_x):
        parts.append(
            f'<text x="{x_of(value):.1f}" y={_HEIGHT - 8} text-anchor=middle>{value:g}</text>'
        )
    for border in borders:
        x = x_of(border)
        parts.append(
            f'<line class=stage x1="{x:.1f}" x2="{x:.1f}" y1={_TOP} y2={_HEIGHT - _BOTTOM} />'
        )
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        parts.append(f'<polyline fill=none stroke="{colour}" stroke-width=1.6 points="{path}" />')
        if len(line) == 1:
            x, y = x_of(line[0][0]), y_of(line[0][1])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r=3 fill="{colour}" />')
        if len(series) > 1:
            parts.append(
                f"<text x={_WIDTH - 12} y={_TOP + 14 * (number + 1)} text-anchor=end"
                f' style="fill:{colour}">{html.escape(name)}</text>'
            )
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two others."""
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= max(m for m in (1, 2, 5, 10) if m * step <= (high - low) / 3 * 1.0001)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
