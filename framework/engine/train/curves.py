"""The curves of one or several training runs as one HTML page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.artifact import WEIGHTS
from engine.core.config.plain import list_at, plain_values, value_at
from engine.core.files import write_text
from engine.report import about, render, size
from engine.report.chart import Chart
from engine.report.charts import Border, Level, Series, line_chart
from engine.train.history import Story, read_history
from engine.train.names import CONFIG, MODEL

Points = list[tuple[int, float]]

_STAGE = re.compile(r"stage (\d+), (.*?): ")


@dataclass(frozen=True)
class RunCurves:
    """A run as its page shows it.

    Attributes:
        name: of its folder.
        story: what it measured.
        config: its resolved config as plain values; empty where there is none that can be read.
        weights: bytes of the weights of its model; ``None`` while there is none.
    """

    name: str
    story: Story
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: int | None = None


def read_run(folder: Path) -> RunCurves:
    """Read a run's history and its config.

    Raises:
        TrainingError: the folder holds no history.
    """
    story = read_history(folder)
    weights = folder / MODEL / WEIGHTS
    return RunCurves(
        folder.resolve().name,
        story,
        plain_values(folder / CONFIG),
        weights.stat().st_size if weights.is_file() else None,
    )


def write_page(path: Path, runs: Sequence[RunCurves]) -> None:
    """Write the page of runs, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    write_text(path, page(runs))


def page(runs: Sequence[RunCurves]) -> str:
    """The page as HTML.

    Args:
        runs: one, with all that it measured, or several, each a line of every chart.
    """
    names = unique([run.name for run in runs])
    runs = [
        RunCurves(name, r.story, r.config, r.weights) for name, r in zip(names, runs, strict=True)
    ]
    alone = runs[0] if len(runs) == 1 else None
    return render(
        "engine.train/curves.html",
        title=f"{alone.name}: curves" if alone else f"Curves of {len(runs)} runs",
        kind="Training",
        name=alone.name if alone else " · ".join(names),
        facts=_facts(alone) if alone else [("runs", str(len(runs)))],
        about=about(
            config="; ".join(_config_words(run) for run in runs),
            data=list(dict.fromkeys(each for run in runs for each in _data_words(run.config))),
            packages=["torch"],
            notes=["The loss is the mean since the last point."],
        ),
        charts=charts(runs),
        heads=HEADS if alone else ["run", *HEADS],
        rows=[
            cells if alone else [run.name, *cells] for run in runs for cells in _stages(run.story)
        ],
        notes=[
            ("" if alone else run.name, step, text)
            for run in runs
            for step, text in run.story.notes
        ],
    )


def unique(names: Sequence[str]) -> list[str]:
    """The names, those that stand there twice with a number behind them."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


@dataclass(frozen=True)
class _Measure:
    """A chart: what it shows and which numbers of a history."""

    title: str
    unit: str
    pattern: str
    scale: str = ""
    zero: bool = False
    factor: float = 1.0


_MEASURES = (
    _Measure("Loss", "loss", r"loss(_.*)?"),
    _Measure("Accuracy", "share of images answered rightly", r"accuracy.*", "%"),
    _Measure("Learning rate", "learning rate", r"lr", zero=True),
    _Measure("Speed", "samples a second", r"samples_per_second", zero=True),
    _Measure("Logit scale", "factor on cosines", r"scale"),
    _Measure("Routing: largest cluster", "share of texts", r"routing_largest", "%", factor=100),
    _Measure("Routing: evenness", "entropy, share of its maximum", r"routing_evenness", "%",
             factor=100),
    _Measure("Routing: accuracy", "share of texts", r"router_accuracy", "%"),
)  # fmt: skip
_OWN = re.compile(r"step|stage|epoch|seconds_left|chance.*|grad.*skipped")
"""Numbers of a history that are no curve of their own."""


def charts(runs: Sequence[RunCurves]) -> list[tuple[str, Chart]]:
    """Title and chart of everything that was measured, also by a plugin's callback."""
    measured = dict.fromkeys(name for run in runs for p in run.story.points for name in p)
    found, taken = [], set()
    for each in _MEASURES:
        names = [name for name in measured if re.fullmatch(each.pattern, name)]
        taken |= set(names)
        if len(runs) > 1 and each.pattern.startswith(("loss", "accuracy")):
            names = names[:1]  # the parts of several runs would be too many lines to tell apart
        lines = [
            Series(_line_name(run, name, names, runs), _scaled(run.story.series(name), each.factor))
            for run in runs for name in names
        ]  # fmt: skip
        lines = [line for line in lines if line.points]
        if lines:
            found.append((each.title, _chart(each, lines, runs)))
    for name in measured:
        if name not in taken and not _OWN.fullmatch(name):
            lines = [Series("" if len(runs) == 1 else r.name, r.story.series(name)) for r in runs]
            lines = [line for line in lines if line.points]
            if lines:
                found.append((name, _chart(_Measure(name, name, name), lines, runs)))
    return found


def _line_name(run: RunCurves, name: str, names: Sequence[str], runs: Sequence[RunCurves]) -> str:
    if len(runs) > 1:
        return run.name
    return name if len(names) > 1 else ""


def _scaled(points: Points, factor: float) -> Points:
    return [(step, value * factor) for step, value in points]


def _chart(measure: _Measure, lines: list[Series], runs: Sequence[RunCurves]) -> Chart:
    levels = _levels(measure, lines, runs)
    return line_chart(
        lines, label=f"{measure.title} by step", x="step", y=measure.unit, scale=measure.scale,
        zero=measure.zero, levels=levels, borders=_borders(runs),
    )  # fmt: skip


def _levels(measure: _Measure, lines: list[Series], runs: Sequence[RunCurves]) -> list[Level]:
    """What a model that knows nothing would reach, where that is known."""
    if measure.pattern.startswith("accuracy"):
        found = {value for run in runs for _, value in run.story.series("chance")[-1:]}
        return [Level(value, f"chance, {value:.3g} %") for value in sorted(found)]
    if measure.pattern.startswith("loss"):
        highest = max((y for line in lines for _, y in line.points if math.isfinite(y)), default=0)
        batches = sorted({rows for run in runs for rows in _batches(run.config)})
        return [
            Level(math.log(rows), f"ln {rows}: a contrastive loss that knows nothing")
            for rows in batches
            if math.log(rows) < 1.5 * highest
        ]
    return []


def _batches(config: Mapping[str, Any]) -> Iterable[int]:
    for stage in list_at(config, "train", "stages"):
        found = stage.get("batch_size") if isinstance(stage, dict) else None
        if isinstance(found, int) and not isinstance(found, bool) and found > 1:
            yield found


def _borders(runs: Sequence[RunCurves]) -> list[Border]:
    """Where stages begin, with their names; of several runs only where all agree."""
    found = [_begins(run.story) for run in runs]
    if any(each != found[0] for each in found) or len(found[0]) < 2:
        return []
    return [Border(step, name) for step, name in found[0]]


def _begins(story: Story) -> list[tuple[int, str]]:
    begins: dict[int, tuple[int, str]] = {}
    for step, text in story.notes:
        if match := _STAGE.match(text):
            begins[int(match[1])] = (step, match[2])
    return [begins[number] for number in sorted(begins)]


HEADS = [
    "stage", "epochs", "steps", "parameters", "samples/s", "seconds", "loss", "accuracy", "chance",
]  # fmt: skip
"""Of the table of stages."""


def _stages(story: Story) -> list[list[str]]:
    rows = []
    for stage in story.stages:
        accuracy, chance = (stage["scores"].get(name) for name in ("accuracy", "chance"))
        rows.append([
            str(stage["name"]), f"{stage['epochs']}", f"{stage['steps']:,}",
            f"{stage['parameters']:,}", f"{stage['samples_per_second']:,.0f}",
            f"{stage['seconds']:,.1f}",
            "–" if stage["loss"] is None else f"{stage['loss']:.4f}",
            "–" if accuracy is None else f"{accuracy:.2f} %",
            "–" if chance is None else f"{chance:.2f} %",
        ])  # fmt: skip
    return rows


def _facts(run: RunCurves) -> list[tuple[str, str]]:
    story = run.story
    last = max((int(point["step"]) for point in story.points), default=0)
    facts = [("stages finished", str(len(story.stages))), ("steps", f"{last:,}")]
    accuracies = story.series("accuracy")
    if accuracies:
        facts.append(("accuracy, last", f"{accuracies[-1][1]:.1f} %"))
        facts.append(("accuracy, best", f"{max(value for _, value in accuracies):.1f} %"))
    if chance := story.series("chance"):
        facts.append(("chance", f"{chance[-1][1]:.1f} %"))
    if run.weights is not None:
        facts.append(("weights", size(run.weights)))
    return facts


def _config_words(run: RunCurves) -> str:
    name = value_at(run.config, "name")
    seed = value_at(run.config, "seed")
    if not isinstance(name, str):
        return f"{run.name}/{CONFIG}"
    return f"{name} (seed {seed}), {run.name}/{CONFIG}"


def _data_words(config: Mapping[str, Any]) -> list[str]:
    """The data sets of a config, as it names them."""
    train = value_at(config, "data", "train")
    evaluate = list_at(config, "data", "evaluate")
    found = [f"train: {_dataset(train)}"] if train else []
    return found + [f"evaluate: {_dataset(each)}" for each in evaluate]


def _dataset(use: Any) -> str:
    if not isinstance(use, dict):
        return str(use)
    rest = ", ".join(f"{key} {value}" for key, value in use.items() if key != "use" and value)
    return f"{use.get('use')} ({rest})" if rest else str(use.get("use"))
