"""The page of a sweep: every trial, how far it got, and what its settings did to the score."""

from __future__ import annotations

import math
from collections.abc import Iterable

from engine.report import about, render, size
from engine.report.chart import Chart
from engine.report.charts import Dots, Level, Series, line_chart, scatter_chart
from engine.sweep.report import HEADS, SweepReport, TrialRow, cells, short_keys

_LINES = 8
"""Trials in the chart of scores; more lines cannot be kept apart."""


def page(report: SweepReport) -> str:
    """The page as HTML."""
    keys = list(report.rows[0].values) if report.rows else []
    return render(
        "engine.sweep/sweep.html",
        title=f"{report.name}: sweep",
        kind="Sweep",
        name=report.name,
        facts=_facts(report),
        about=about(
            config=f"{report.config}; varied: {', '.join(keys)}",
            data=[f"evaluate: {name}" for name in report.data],
            packages=["torch"],
            notes=["A training that was stopped early is compared by its score there."],
        ),
        heads=["trial", *short_keys(keys), *HEADS] if keys else [],
        rows=[cells(report, row) for row in report.rows],
        notes=report.notes(),
        charts=list(_charts(report, keys)),
    )


def _facts(report: SweepReport) -> list[tuple[str, str]]:
    found = [("trials", str(len(report.rows)))]
    best = report.best
    if best is not None and best.result is not None:
        found.append((f"best {report.score}", f"{best.result:.1f}"))
    if report.chance is not None:
        found.append(("chance", f"{report.chance:.1f} %"))
    if report.whole:
        found.append(("steps trained", f"{100 * report.trained / report.whole:.0f} %"))
    if report.limit is not None:
        found.append(("limit", size(report.limit)))
    return found


def _levels(report: SweepReport) -> list[Level]:
    return [] if report.chance is None else [Level(report.chance, f"chance, {report.chance:.3g} %")]


def _charts(report: SweepReport, keys: list[str]) -> Iterable[tuple[str, Chart]]:
    trained = [row for row in report.rows if row.rungs]
    scale = "%" if report.score.startswith("accuracy") else ""
    lines = [Series(f"trial {row.number}", list(_points(row))) for row in trained[:_LINES]]
    if lines and len(trained[0].rungs) > 1:
        yield (
            f"Score by rung, the {len(lines)} best",
            line_chart(
                lines, label="Score by the trained share", x="share of the training, percent",
                y=report.score, scale=scale, levels=_levels(report),
            ),
        )  # fmt: skip
    for key, name in zip(keys, short_keys(keys), strict=True):
        dots = [
            (float(row.values[key]), row.result)
            for row in trained
            if _is_number(row.values[key]) and row.result is not None
        ]
        if len({x for x, _ in dots}) < 2:
            continue
        wide = min(x for x, _ in dots) > 0 and max(dots)[0] / min(dots)[0] >= 10
        yield (
            f"Score by {name}",
            scatter_chart(
                [Dots("", dots)], label=f"Score by {name}", x=key, y=report.score,
                scale="percent" if scale else "", log_x=wide, levels=_levels(report),
            ),
        )  # fmt: skip


def _points(row: TrialRow) -> Iterable[tuple[float, float]]:
    for rung, measured in enumerate(row.rungs):
        first = next(iter(measured.values()))
        yield 100 * first.step / first.steps, row.mean(rung)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
