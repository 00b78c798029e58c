"""Results written whole or not at all, and a folder for temporary files."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.errors import DataError


def check_target(path: Path) -> None:
    """Tell before an hour's work that a result cannot be written there.

    Raises:
        DataError: the path is a folder, or lies below something that is none or is read-only.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; a file is to be written", hint="name a file in it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{path} cannot be written: {above} is no folder")
    if not os.access(above, os.W_OK):
        raise DataError(f"{path} cannot be written: {above} is read-only")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` at the end, synced; on an error it is gone.

    Missing folders are made.

    Raises:
        OSError: the disk is full, say; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp's file is for its owner only
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary sibling to write into; at the end it takes the place of ``folder``, synced.

    Missing folders above it are made. After an error or Ctrl-C nothing is left behind and the old
    folder is untouched.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _sync(temporary)
        _move(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(folder: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~umask)  # safetensors writes files that only their owner may read
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _move(temporary: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as :func:`replacing` does, in UTF-8.

    Raises:
        OSError: the disk is full, say; the old file is then untouched and nothing is left behind.
    """
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A folder for temporary files, gone at the end.

    It lies beside the data, because a system's own folder for such files often is memory; where
    that is read-only, it lies in the system's.
    """
    folder = beside.absolute().parent
    where = folder if os.access(folder, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix=".engine-text-") as name:
        yield Path(name)
