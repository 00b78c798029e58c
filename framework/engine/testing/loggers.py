"""What loggers promise."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.contracts.training import RunInfo
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_LOGGER = "engine.contracts.training.Logger"
_VALUES = {"loss": 1.25, "lr": 1e-4, "samples_per_second": 512.0, "seconds_left": 185.0}


class LoggerSubject(Subject):
    """A logger."""

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    def info(self, folder: Path, step: int = 0) -> RunInfo:
        """What a run tells."""
        return RunInfo(folder, "a model", 20, step, {"name": "a model", "seed": 0})

    @contextlib.contextmanager
    def started(self, step: int = 0) -> Iterator[Any]:
        """A logger between start and close, in a folder of its own."""
        with tempfile.TemporaryDirectory() as folder:
            logger = self.make()
            call(logger.start, self.info(Path(folder), step), expected="start(run) to work")
            try:
                yield logger
            finally:
                call(logger.close, expected="close() to work")


SUBJECT = LoggerSubject


@rule(
    contract=_LOGGER,
    says="Receives what training measures.",
    why="A logger that raises stops the run that it was to watch.",
    needs=("settings_valid",),
)
def calls(it: LoggerSubject) -> None:
    """It is made, started, given numbers and notes in order, closed; twice in the same folder."""
    call(it.make, expected=f"{it.target.__name__}(settings) to give a logger")
    with tempfile.TemporaryDirectory() as name:
        for first in (0, 10):
            logger = it.make()
            call(
                logger.start,
                it.info(Path(name), first),
                expected=f"start(run) to work where the run goes on from step {first}",
            )
            call(
                logger.note,
                first,
                "stage 1, warm-up: <b>4 parameters</b> [bold]train",
                expected="note(step, text) to take any text",
            )
            for step in range(first + 1, first + 4):
                call(logger.log, step, dict(_VALUES), expected="log(step, values) to work")
            call(logger.log, first + 4, {"accuracy": 91.5}, expected="log to take other names")
            call(logger.close, expected="close() to work")


@rule(
    contract=f"{_LOGGER}.log",
    says="A number may be NaN or infinite, and a name may be new",
    why="The step at which a loss becomes NaN is the one a user wants to see.",
    needs=("calls",),
)
def bad_numbers(it: LoggerSubject) -> None:
    """NaN, infinity and names that it has not seen do no harm, and the values stay as they are."""
    with it.started() as logger:
        for number in (math.nan, math.inf, -math.inf, 0.0, 1e300, -1e-300):
            values = dict.fromkeys(_VALUES, number)
            call(logger.log, 1, values, expected=f"log to take the number {number}")
            if values.keys() != _VALUES.keys():
                fault("the values to stay as they are", "log() changed them")
        call(logger.log, 2, {}, expected="log to take no values at all")
        call(logger.log, 3, {"потеря/среднее %": 1.0}, expected="log to take any name")


@rule(
    contract=f"{_LOGGER}.close",
    says="It may be called again, and right after :meth:`start`",
    why="A run closes its loggers whatever happened: an error in the first step, or Ctrl-C while"
    " closing.",
    needs=("calls",),
)
def closing(it: LoggerSubject) -> None:
    """close() works right after start, and twice."""
    with tempfile.TemporaryDirectory() as folder:
        logger = it.make()
        logger.start(it.info(Path(folder)))
        call(logger.close, expected="close() to work right after start()")
        call(logger.close, expected="a second close() to do nothing")


@rule(
    contract="engine.contracts.training.RunInfo",
    says="a logger that writes files writes them here",
    why="A run's folder is moved, packed and deleted as one.",
    needs=("calls",),
)
def files(it: LoggerSubject) -> None:
    """Nothing is written into the current folder."""
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty), it.started() as logger:
        logger.log(1, dict(_VALUES))
        if strange := sorted(path.name for path in Path(empty).iterdir()):
            fault("files in run.folder alone", f"`{strange[0]}` in the current folder")


RULES = (calls, bad_numbers, closing, files)
