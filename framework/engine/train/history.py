"""What a run measured: JSON lines in its folder, the source of `engine show`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.files import write_text
from engine.errors import TrainingError
from engine.train.names import HISTORY


class History:
    """The file that the main process appends to.

    Args:
        folder: the run's.
        step: the step that the run goes on from: lines of later steps are removed.
        ended: stages that are over at that step: the ends of others come again.
    """

    def __init__(self, folder: Path, step: int, ended: int = 0) -> None:
        path = folder / HISTORY
        kept = [
            line
            for line in _lines(path)
            if step and line["step"] <= step and line.get("finished_stage", -1) < ended
        ]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a line; numbers that are not finite become null."""
        plain = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._file.write(json.dumps({"step": step, **plain}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class Story:
    """A run's history, read.

    Attributes:
        points: lines of numbers, each with ``step`` and ``stage``.
        stages: lines that end a stage: its name, epochs, seconds, loss, scores.
        notes: (step, text).
    """

    points: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) where that number was measured."""
        return [
            (int(point["step"]), float(point[name]))
            for point in self.points
            if isinstance(point.get(name), (int, float)) and not isinstance(point[name], bool)
        ]


def read_history(folder: Path) -> Story:
    """Read a run's history; lines that are not JSON (a kill cut them short) are passed over.

    Raises:
        TrainingError: there is none.
    """
    if not (folder / HISTORY).is_file():
        raise TrainingError(
            f"{folder} is not a run: it has no {HISTORY}",
            hint="`engine train CONFIG -o RUN` writes one",
        )
    notes, points, stages = [], {}, {}
    for line in _lines(folder / HISTORY):
        if "note" in line:
            notes.append((line["step"], str(line["note"])))
        elif "finished_stage" in line:
            stages[str(line["finished_stage"])] = line
        else:  # what was measured again after a kill counts once, as it was measured last
            points[line["step"], str(line.get("stage")), frozenset(line)] = line
    return Story(list(points.values()), list(stages.values()), notes)


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            found.append(line)
    return found
