"""A JSON object a line, for other programs to read while training goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO

from engine.contracts import Logger, RunInfo
from engine_plugins.loggers.settings import JsonLinesSettings


class JsonLines(Logger):
    """``{"step": 10, "loss": 1.2, ...}`` and ``{"step": 10, "note": "..."}``, flushed each line.

    A run that goes on appends; lines of later steps written before a crash come again, and the last
    one of a step holds. A number that is not finite is written as ``null``, which JSON has.
    """

    settings: JsonLinesSettings

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        mode = "a" if run.step else "w"
        path = run.folder / self.settings.file
        self._file: IO[str] = path.open(mode, encoding="utf-8", newline="\n")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        finite = {name: v if math.isfinite(v) else None for name, v in values.items()}
        self._write({"step": step, **finite})

    def note(self, step: int, text: str) -> None:
        """See the contract."""
        self._write({"step": step, "note": text})

    def close(self) -> None:
        """See the contract."""
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
