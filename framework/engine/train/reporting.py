"""Where a run says what happens: the history in its folder, and the loggers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.contracts.training import Logger, RunInfo
from engine.train.history import History


@contextlib.contextmanager
def warnings_noted(note: Callable[[str], None]) -> Iterator[None]:
    """What the activation cache warns of while inside is a note of the run, and nothing else.

    Args:
        note: receives each warning.
    """

    class Noted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    logger, handler = logging.getLogger("engine.cache"), Noted(logging.WARNING)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class Reporter:
    """Tells the history and the loggers, in the main process; elsewhere it does nothing.

    Args:
        loggers: beside the history.
        main: whether this is the process that writes.
    """

    def __init__(self, loggers: Sequence[Logger], *, main: bool) -> None:
        self._loggers, self._main = tuple(loggers), main
        self._history: History | None = None
        self._waiting: list[str] = []

    def start(self, folder: Path, info: RunInfo, finished_stages: int) -> None:
        """Open the history and start the loggers; notes that came before are reported now.

        Args:
            folder: where the run's files are at this moment.
            info: of the run.
            finished_stages: how many stages are over at that step.
        """
        if not self._main:
            return
        self._history = History(folder, info.step, finished_stages)
        for logger in self._loggers:
            logger.start(info)
        for text in self._waiting:
            self.note(info.step, text)
        self._waiting.clear()

    def history(self, step: int, values: Mapping[str, Any]) -> None:
        """Write a line of the history alone."""
        if self._history is not None:
            self._history.write(step, values)

    def values(self, step: int, place: Mapping[str, int], values: Mapping[str, float]) -> None:
        """Tell numbers that were measured.

        Args:
            step: of the run.
            place: stage and epoch, from 0; loggers receive them from 1.
            values: the numbers.
        """
        self.history(step, {**place, **values})
        for logger in self._loggers if self._history is not None else ():
            logger.log(step, {**{name: at + 1 for name, at in place.items()}, **values})

    def note(self, step: int, text: str) -> None:
        """Tell that something happened; before :meth:`start` it waits."""
        if not self._main:
            return
        if self._history is None:
            self._waiting.append(text)
            return
        self.history(step, {"note": text})
        for logger in self._loggers:
            logger.note(step, text)

    def close(self) -> None:
        """Close what was started."""
        if self._history is None:
            return
        for logger in self._loggers:
            logger.close()
        self._history.close()
