"""The figures of a paper: a leaderboard as files of SVG and PDF, drawn by ``engine.report``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from engine.bench.leaderboard import Leaderboard, Row
from engine.bench.results import DatasetAnswers, EntryAnswers
from engine.evaluate.confusion import confusion_of
from engine.report.chart import Chart
from engine.report.charts import Dots, Level, Point, scatter_chart
from engine.report.comparison_charts import IntervalRow, heat_chart, interval_chart

FORMS = (".svg", ".pdf")
"""Each figure is written in each of these."""

MAX_PAIRS = 40
"""Pairs in the figure of differences; of more, the smallest p come first."""


def write_figures(
    folder: Path, leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers]
) -> list[Path]:
    """Write every figure that the leaderboard has numbers for.

    Args:
        folder: made where it is missing; files of the same names are replaced.
        leaderboard: the leaderboard.
        answers: of each entry's first seed.

    Returns:
        The files.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chart in figures(leaderboard, answers).items():
        for form in FORMS:
            path = folder / f"{name}{form}"
            chart.save(path)
            written.append(path)
    return written


def figures(leaderboard: Leaderboard, answers: Mapping[str, EntryAnswers]) -> dict[str, Chart]:
    """Every figure by the name of its file, without the end.

    ``bytes`` and ``time``: accuracy against each; ``pairs``: differences with their intervals;
    ``confusion-DATASET``: which class got which answer, by the best entry.
    """
    rows = [row for row in leaderboard.rows if row.accuracy is not None]
    if not rows:
        return {}
    found = {}
    sized = [(row, row.model_size.bytes / 1e6) for row in rows if row.model_size is not None]
    if sized:
        found["bytes"] = _front(leaderboard, sized, "weights, MB", "on_bytes_front")
    timed = [(row, row.speed.image_ms) for row in rows if row.speed is not None]
    if timed:
        found["time"] = _front(leaderboard, timed, "milliseconds an image", "on_ms_front")
    if leaderboard.comparisons:
        found["pairs"] = _pairs(leaderboard)
    best = leaderboard.size_buckets[-1].ranks[0].entry if leaderboard.size_buckets[-1].ranks else ""
    for dataset, each in answers[best].datasets.items() if best in answers else ():
        found[f"confusion-{_file_name(dataset)}"] = _confusion(best, dataset, each)
    return found


def _front(leaderboard: Leaderboard, points: list[tuple[Row, float]], x: str, front: str) -> Chart:
    """Accuracy against something that costs; the line joins those that nothing beats in both."""
    places: list[Point] = [(value, row.accuracy or 0.0) for row, value in points]
    line = sorted(
        place for place, (row, _) in zip(places, points, strict=True) if getattr(row, front)
    )
    chance = leaderboard.chance
    values = [value for _, value in points]
    several = len(leaderboard.datasets) > 1
    return scatter_chart(
        [Dots("", places, labels=[row.entry for row, _ in points])],
        label=f"Accuracy against {x}", x=x,
        y="mean accuracy over data sets" if several else "accuracy", scale="percent",
        log_x=min(values) > 0 and max(values) >= 10 * min(values), line=line,
        levels=[] if chance is None else [Level(chance, f"chance, {chance:.1f} %")],
        width=560, height=360,
    )  # fmt: skip


def _pairs(leaderboard: Leaderboard) -> Chart:
    pairs = sorted(leaderboard.comparisons, key=lambda each: (each.corrected, each.a, each.b))
    shown = [
        IntervalRow(f"{each.a} - {each.b}", each.difference, *each.interval, certain=each.real)
        for each in pairs[:MAX_PAIRS]
    ]
    return interval_chart(
        shown, label="Differences of accuracy with 95 % intervals",
        x="difference of the mean accuracies, points (95 %)",
        open_name="no difference (open dot: not significant, Holm)",
    )  # fmt: skip


def _confusion(entry: str, dataset: str, answers: DatasetAnswers) -> Chart:
    answered = [
        (label, top[0])
        for label, top in zip(answers.labels, answers.top, strict=True)
        if label >= 0 and top
    ]
    found = confusion_of(answers.classes, answered)
    shares = [[(depth / 100) ** 2 for _, depth in row] for row in found.table]  # depth is its root
    return heat_chart(
        found.names, shares, label=f"Answers of {entry} to {dataset} by class", x="answer",
        y=f"right class ({entry}, {dataset})",
    )  # fmt: skip


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)[:60] or "data"
