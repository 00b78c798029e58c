"""A file that takes the place of another, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from engine.core.files import steps, temporary
from engine.core.files.trouble import explained
from engine.errors import DataError


def target_of(path: Path) -> Path:
    """Where a path leads: links are followed, so that a link stays and its target is replaced.

    Raises:
        DataError: links that lead in a circle.
    """
    try:
        return path.absolute().resolve()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} leads nowhere: its links form a circle") from error


def check_target(path: Path) -> None:
    """Tell before an hour's work that a result cannot be written there.

    Raises:
        DataError: the path is a folder, a device, a pipe or a socket, or lies below something that
            is not a folder or is read-only.
    """
    target = target_of(path)
    if target.is_dir():
        raise DataError(f"{path} is a folder; a file is to be written", hint="name a file in it")
    check_regular(target, path)
    above = next(folder for folder in target.parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"{path} cannot be written: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise DataError(f"{path} cannot be written: {above} is read-only")


def check_regular(target: Path, shown: Path) -> None:
    """Raise DataError where something stands there that is not a plain file (none is opened)."""
    try:
        mode = target.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{shown} is not a regular file, so it is not replaced",
            hint="name a file; results are written whole, which a device or a pipe cannot take",
        )


def check_outputs(outputs: Iterable[Path | None], reads: Iterable[Path | None]) -> None:
    """Refuse outputs that cannot be written, or would replace what the same command reads.

    Args:
        outputs: files to be written; ``None`` is passed over.
        reads: files and folders that are read; of a folder, everything below it. Links are
            followed, and two names of one file are recognised.

    Raises:
        DataError: see :func:`check_target`; an output is one of the inputs; two outputs are the
            same file.
    """
    written = [path for path in outputs if path is not None]
    inputs = [path for path in reads if path is not None]
    for number, path in enumerate(written):
        check_target(path)
        target = target_of(path)
        for other in written[:number]:
            if target == target_of(other) or _same(target, other):
                raise DataError(f"{path} and {other} are the same file, and both are to be written")
        for source in inputs:
            if _same(target, source) or _holds(source, target):
                raise DataError(
                    f"{path} is read by this command, so it is not overwritten",
                    hint="choose another name for the output",
                )


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def _holds(folder: Path, target: Path) -> bool:
    """Whether an existing file lies below a folder."""
    return folder.is_dir() and target.exists() and target.is_relative_to(target_of(folder))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` at the end, synced; on an error it is gone.

    Missing folders are made. Where ``path`` is a symbolic link, what it leads to is replaced. A
    file that is replaced passes on its permissions.

    Raises:
        DataError: something other than a plain file stands there.
        WriteError: the disk is full; the old file is then untouched.
        OSError: the folder cannot be written to.
    """
    with explained(path), _new(path) as (held, target):
        with os.fdopen(os.dup(held.handle), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.fchmod(held.handle, _mode_for(target))
        steps.replace(held.path, target)


@contextlib.contextmanager
def _new(path: Path) -> Iterator[tuple[temporary.Temporary, Path]]:
    target = target_of(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    check_regular(target, path)
    temporary.sweep(target.parent)
    held = temporary.make_file(target)
    try:
        yield held, target
    finally:
        held.discard()


def _mode_for(target: Path) -> int:
    """Permissions of a file that is replaced, else those that new files get."""
    try:
        return stat.S_IMODE(target.lstat().st_mode) & 0o777
    except OSError:
        return 0o666 & ~current_umask()


def current_umask() -> int:
    """The process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file as :func:`replacing` does, piece by piece."""
    with explained(path), _new(path) as (held, target):
        steps.write_synced(held.path, pieces)
        os.fchmod(held.handle, _mode_for(target))
        steps.replace(held.path, target)


def write_text(path: Path, text: str) -> None:
    """Write a text file as :func:`replacing` does, in UTF-8.

    Raises:
        WriteError: the disk is full; the old file is then untouched and nothing is left behind.
    """
    with replacing(path) as file:
        file.write(text.encode())
