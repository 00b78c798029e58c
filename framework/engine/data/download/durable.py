"""The few steps that change files for good, in one place so that tests can cut each off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_synced(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file and have it on the disk before going on. Not atomic: write a temporary name."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def replace(source: Path, target: Path) -> None:
    """Rename over whatever is there, and have the folder on the disk."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def append(handle: int, data: bytes) -> None:
    """Write at the end of an open file, all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def move(source: Path, target: Path) -> None:
    """Rename over whatever is there."""
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)


def write_atomic(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    write_synced(temporary, pieces)
    replace(temporary, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    write_atomic(path, [text.encode()])
