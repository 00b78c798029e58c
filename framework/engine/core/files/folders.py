"""A folder that takes the place of another, whole, by an exchange that a crash cannot split.

The new folder is written beside the old one under a temporary name and synced. Then the two names
are exchanged in one step of the file system (``renameat2`` of Linux), so that at every moment one
whole folder has the name. Where that is not possible two renames have to do: a crash between them
leaves the old folder under a name from which :func:`recover` puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from engine.core.files import steps, temporary
from engine.core.files.locks import Lock, locked
from engine.core.files.temporary import Temporary
from engine.core.files.trouble import explained
from engine.core.files.whole import current_umask, target_of
from engine.errors import ArtifactError, DataError, EngineError

WAIT = 30.0
"""Seconds that a writer waits for another one of the same folder."""

Check = Callable[[Path], None]
"""Raises an EngineError where a folder is not ours to replace."""


@contextlib.contextmanager
def replacing_folder(
    folder: Path,
    check: Check = lambda folder: None,
    *,
    error: type[EngineError] = ArtifactError,
    kept: Collection[str] = (),
    sync: bool = True,
) -> Iterator[Path]:
    """A temporary sibling to write into; at the end it takes the place of ``folder``, synced.

    Missing folders above it are made; where ``folder`` is a symbolic link, what it leads to is
    replaced. One process at a time writes a folder, others wait. After an error or a signal nothing
    is left behind and the old folder is untouched; after a kill the next writer tidies up.

    Args:
        folder: what is to be replaced, or made.
        check: raises where what stands there may not be replaced. It is asked before the work,
            and again about the folder that was replaced before that is removed.
        error: type of the error for a folder that another process is writing.
        kept: names in the new folder that were taken over as they were: their modes are not set.
        sync: wait for every file by itself; ``False`` for very many small ones, which are waited
            for together.

    Raises:
        EngineError: ``check`` refused; another process is writing the folder.
        WriteError: the disk is full.
    """
    shown, folder = folder, target_of(folder)
    with explained(shown):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _writing(folder, shown, error):
            _recover(folder)
            temporary.sweep(folder.parent)
            if os.path.lexists(folder) and not folder.is_dir():
                raise error(f"{shown} exists and is not a folder", hint="choose another name")
            check(folder)
            held = temporary.make_folder(folder)
            try:
                yield held.path
                sync_tree(held.path, folder, kept, each=sync)
                with _explain_mount_points(shown, error):
                    _commit(held, folder, check)
            finally:
                held.discard()


def _writing(
    folder: Path, shown: Path, error: type[EngineError]
) -> contextlib.AbstractContextManager[Lock]:
    return locked(
        lock_of(folder),
        f"{shown} is in use by another process, which is writing it",
        wait=WAIT,
        error=error,
        hint="wait for it and give the same command again, or choose another folder with `-o`",
    )


def lock_of(folder: Path) -> Path:
    """The lock's file of a folder that is replaced whole: it lies beside the folder."""
    return folder.with_name(f".{temporary.short_name(folder.name)}.lock")


def recover(folder: Path) -> None:
    """Put back a folder that a crash left set aside, between the two renames of a replacement.

    For readers that do not find ``folder``; does nothing where there is nothing to put back.
    """
    folder = target_of(folder)
    if os.path.lexists(folder) or not temporary.replaced_folders(folder):
        return
    with contextlib.suppress(OSError), _writing(folder, folder, DataError):
        _recover(folder)


def _recover(folder: Path) -> None:
    if os.path.lexists(folder):
        return
    for old in temporary.replaced_folders(folder)[:1]:
        steps.move(old, folder)


def _commit(held: Temporary, folder: Path, check: Check) -> None:
    """Put the new folder in place, then remove the old one, if it still is ours to remove."""
    if not os.path.lexists(folder):
        steps.replace(held.path, folder)
        return
    check(folder)
    with _holding(folder):
        if not steps.exchange(held.path, folder):
            _rename_twice(held.path, folder)
            return
        try:
            check(held.path)  # a file that came in the last moment is not lost
        except EngineError:
            steps.exchange(held.path, folder)
            check(folder)
            raise


@contextlib.contextmanager
def _explain_mount_points(shown: Path, error: type[EngineError]) -> Iterator[None]:
    try:
        yield
    except OSError as trouble:
        if trouble.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise error(
            f"{shown} cannot be replaced: it is where another disk is mounted",
            hint="name a folder in it",
        ) from trouble


def _rename_twice(new: Path, folder: Path) -> None:
    old = temporary.name_for(folder, "old")
    steps.move(folder, old)
    try:
        steps.replace(new, folder)
    except OSError:
        steps.move(old, folder)
        raise
    steps.remove_tree(old)


@contextlib.contextmanager
def _holding(folder: Path) -> Iterator[None]:
    """Lock the old folder, which will have the temporary's name: nobody else may sweep it away."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        temporary.try_lock(handle)
        yield
    finally:
        os.close(handle)


def sync_tree(
    folder: Path, old: Path | None = None, kept: Collection[str] = (), *, each: bool = True
) -> None:
    """Give what was written the modes of other files, and have it on the disk. Follows no links.

    Args:
        folder: what was written.
        old: what it replaces: a file (or the folder itself) passes its permissions on.
        kept: names in ``folder`` that are left as they are.
        each: sync file by file; ``False``: the whole file system at once.
    """
    _settle_tree(folder, old, kept, current_umask(), sync=each)
    if not each:
        _sync_all(folder)


def _settle_tree(
    folder: Path, old: Path | None, kept: Collection[str], umask: int, *, sync: bool
) -> None:
    for path in sorted(folder.iterdir()):
        if path.name in kept:
            continue
        mode = path.lstat().st_mode
        before = None if old is None else old / path.name
        if stat.S_ISDIR(mode):
            _settle_tree(path, before, (), umask, sync=sync)
        elif stat.S_ISREG(mode):
            had = None if before is None else _mode(before, stat.S_ISREG)
            _settle(path, 0o666 & ~umask if had is None else had, sync=sync)
    had = None if old is None else _mode(old, stat.S_ISDIR)
    if had is not None:
        folder.chmod(had)
    if sync:
        steps.sync_folder(folder)


def _mode(path: Path, kind: Callable[[int], bool]) -> int | None:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return stat.S_IMODE(mode) if kind(mode) else None


def _settle(path: Path, mode: int, *, sync: bool) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(handle, mode)
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)


def _sync_all(folder: Path) -> None:
    """Sync the whole file system at once."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call = getattr(ctypes.CDLL(None), "syncfs", None)
        if call is None or call(handle) != 0:
            os.sync()
    finally:
        os.close(handle)
