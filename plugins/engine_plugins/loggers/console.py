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

_SHOWN = ("loss", "lr", "samples_per_second", "seconds_left", "accuracy")


class Console(Logger):
    """Prints to stderr: results belong to stdout."""

    settings: ConsoleSettings

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        self._console = terminal.console(stderr=True, soft_wrap=True)
        self._steps = run.steps
        self._seen: dict[str, float] = {}
        self._shown_at = 0.0
        self._bar: Progress | None = None
        self._showing = contextlib.ExitStack()
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                       TextColumn("{task.fields[figures]}", markup=False))  # fmt: skip
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(run.name, total=run.steps, figures="")
            self._showing.enter_context(terminal.live(self._bar))
            self._bar.update(self._task, completed=run.step)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        self._seen.update(values)
        text = figures(self._seen)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=text)
        elif time.monotonic() - self._shown_at >= self.settings.seconds or "accuracy" in values:
            self._shown_at = time.monotonic()
            self._console.print(f"step {step}/{self._steps}  {text}")

    def note(self, step: int, text: str) -> None:
        """See the contract."""
        self._console.print(f"step {step}: {text}")

    def close(self) -> None:
        """See the contract."""
        self._showing.close()


def figures(values: Mapping[str, float]) -> str:
    """``loss 1.234  lr 1.0e-04  512 samples/s  3:05 left  accuracy 91.2 %``: what is known."""
    words = {
        "loss": "loss {:.4f}",
        "lr": "lr {:.1e}",
        "samples_per_second": "{:,.0f} samples/s",
        "accuracy": "accuracy {:.1f} %",
    }
    found = []
    for name in _SHOWN:
        if name not in values:
            continue
        if name == "seconds_left":
            found.append(f"{clock(values[name])} left")
        else:
            found.append(words[name].format(values[name]))
    return "  ".join(found)


def clock(seconds: float) -> str:
    """``3:05``, ``2:13:05``; ``?`` for what is not a time."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
