"""Progress for a person: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping

from rich.progress import BarColumn, Progress, TextColumn

from engine.contracts import Logger, RunInfo
from engine.core import terminal
from engine_plugins.loggers.settings import ConsoleSettings

_FIGURES = {
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.1f} %",
    "samples_per_second": "{:,.0f} samples/s",
    "lr": "lr {:.1e}",
}
"""What a line shows, the most important first: what does not fit into its width is left out."""

_BAR = 10
_NAME = 12


class Console(Logger):
    """Prints to stderr: results belong to stdout."""

    settings: ConsoleSettings

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        self._console = terminal.console(stderr=True, soft_wrap=True)
        self._run = run
        self._seen: dict[str, float] = {}
        self._shown_at = 0.0
        self._bar: Progress | None = None
        self._showing = contextlib.ExitStack()
        if sys.stderr.isatty():
            columns = (BarColumn(bar_width=_BAR), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(run.name, total=run.steps)
            self._showing.enter_context(terminal.live(self._bar))
            self._bar.update(self._task, completed=run.step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        self._seen.update(values)
        if self._bar is not None:
            text = progress(self._run, step, self._seen, self._console.width - _BAR - 2)
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._shown_at >= self.settings.seconds or "accuracy" in values:
            self._shown_at = time.monotonic()
            self._console.print(progress(self._run, step, self._seen))

    def note(self, step: int, text: str) -> None:
        """See the contract."""
        self._console.print(f"step {step}: {text}")

    def close(self) -> None:
        """See the contract."""
        self._showing.close()


def progress(run: RunInfo, step: int, values: Mapping[str, float], width: int | None = None) -> str:
    """Where a run is, and what it measured: as much as fits.

    ``step 120/480  warm 1/2  epoch 3/30  3:05 left  loss 2.3145  accuracy 61.2 %  lr 1.0e-04``

    Args:
        run: the run.
        step: of the run.
        values: the last that is known of each number.
        width: columns at most; ``None``: as many as it takes.
    """
    parts = [f"step {step}/{run.steps}", *_place(run, values)]
    if "seconds_left" in values:
        parts.append(f"{clock(values['seconds_left'])} left")
    for name, form in _FIGURES.items():
        if name in values:
            longer = [*parts, form.format(values[name])]
            if width is None or len("  ".join(longer)) <= width:
                parts = longer
    return "  ".join(parts)


def _place(run: RunInfo, values: Mapping[str, float]) -> list[str]:
    """Stage and epoch in words, where they are known."""
    if not run.stages or "stage" not in values or "epoch" not in values:
        return []
    number = min(int(values["stage"]), len(run.stages))
    name, epochs = run.stages[number - 1]
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    return [f"{short} {number}/{len(run.stages)}", f"epoch {int(values['epoch'])}/{epochs}"]


def clock(seconds: float) -> str:
    """``3:05``, ``2:13:05``; ``?`` for what is not a time."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
