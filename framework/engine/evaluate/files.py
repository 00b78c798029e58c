"""Result files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from engine.errors import DataError


def check_target(path: Path) -> None:
    """Tell before an hour's work that a result cannot be written there.

    Raises:
        DataError: the path is a folder, or lies below something that is none.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; a file is to be written", hint="name a file in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise DataError(f"{path} cannot be written: {above} is read-only")


def write_text(path: Path, text: str) -> None:
    """Write a file through a synced temporary sibling; missing folders are made.

    Raises:
        OSError: the disk is full, say; the old file is then untouched and nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's file is for its owner only
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
