"""A logger to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import LoggerSettings
from pydantic import Field


class ${class_name}Settings(LoggerSettings):
    """$title."""

    file: str = Field("log.csv", pattern=r"^[A-Za-z0-9._-]+$$", description="its name")
'''

PLUGIN = '''\
"""`$name`: receives what training measures.

Its contract: engine/contracts/training.py.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping

from engine.contracts import Logger, RunInfo

from .settings import ${class_name}Settings


class $class_name(Logger):
    """$title.

    A run that goes on appends; of a step that comes twice the last line holds.
    """

    settings: ${class_name}Settings

    def start(self, run: RunInfo) -> None:
        """Called once before the first step; `run.step` is not 0 where a run goes on."""
        path = run.folder / self.settings.file
        self.file = path.open("a" if run.step else "w", encoding="utf-8", newline="")
        self.writer = csv.writer(self.file)
        if not run.step:
            self.writer.writerow(["step", "name", "value"])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step."""
        self.writer.writerows([step, name, value] for name, value in values.items())
        self.file.flush()

    def close(self) -> None:
        """Called once at the end, also after an error or Ctrl-C."""
        self.file.close()
'''

PACKAGE = PackageKind(
    file="logger",
    contract="Logger",
    contract_module="engine.contracts.training",
    summary="a table step,name,value in the run's folder",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"logger": "\n    - {use: $name}"},
)
