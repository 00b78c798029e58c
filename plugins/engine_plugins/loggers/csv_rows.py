"""A CSV file, for spreadsheets and pandas."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import IO

from engine.contracts import Logger, RunInfo
from engine_plugins.loggers.settings import CsvSettings


class CsvRows(Logger):
    """``step,name,value``: a row for each number, flushed at each step.

    The names of the numbers are known only when they come (a score, a loss of a later stage), so
    they are a column and not the header. A run that goes on appends; of a step's rows that were
    written before a crash and come again, the last one holds.
    """

    settings: CsvSettings

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        path = run.folder / self.settings.file
        going_on = run.step > 0 and path.is_file()
        mode = "a" if going_on else "w"
        self._file: IO[str] = path.open(mode, encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not going_on:
            self._rows.writerow(["step", "name", "value"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        self._rows.writerows([step, name, repr(float(value))] for name, value in values.items())
        self._file.flush()

    def close(self) -> None:
        """See the contract."""
        self._file.close()
