"""How long the training of a bench's model took, noted beside the model."""

from __future__ import annotations

import json
from pathlib import Path

from engine.core.files import write_text

TRAINING_TIME = "bench.json"
"""Beside a run's model: how long its training took here, over all of its beginnings."""


def note_seconds(folder: Path, seconds: float) -> None:
    """Note what the training in a folder took so far."""
    write_text(folder / TRAINING_TIME, json.dumps({"train_seconds": seconds}) + "\n")


def seconds_of(folder: Path) -> float | None:
    """Seconds that the training in a folder took; ``None`` where it is not known."""
    try:
        loaded = json.loads((folder / TRAINING_TIME).read_text(encoding="utf-8"))
        return float(loaded["train_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
