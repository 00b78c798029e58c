"""The folder of caches: how many bytes it may hold, and who makes room for whom."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.errors import DataError

ABOUT, DATA, LOCK = "about.json", "data", "lock"
_OWN_FILE = re.compile(rf"{ABOUT}|{DATA}|{LOCK}|index\.sqlite(-journal|-wal|-shm)?")
_WAIT = 20.0
"""Seconds that a process waits for the folder's lock, which is held for milliseconds."""

_STALE = 1 << 26
"""Bytes of one's own after which the folder is measured again."""

READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class Budget:
    """The bytes that the caches of a folder may hold, together and of all processes.

    Args:
        folder: of caches; created where it does not exist.
        limit: bytes.

    Attributes:
        problem: why nothing can be written there; empty where it can.

    Raises:
        DataError: the folder cannot exist: there is a file of its name, for example.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.problem = ""
        self._private = self._measured = self._since = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.held():
                self._measured = self._stored()
        except OSError as error:
            readable = error.errno in READ_ONLY and folder.is_dir()
            if not readable and error.errno not in {*_NO_ROOM, None}:
                raise DataError(
                    f"the cache {folder} cannot be used: {error.strerror or error}",
                    hint="name a folder that can be written, or one that does not exist yet",
                ) from error
            self.problem = error.strerror or str(error)

    @property
    def used(self) -> int:
        """Bytes of the folder's caches when it was last measured, and of this process's files."""
        return self._measured + self._private

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No other process creates, removes or writes a cache of the folder meanwhile.

        Raises:
            OSError: the folder is read-only, or another process holds the lock for too long (it
                was stopped, for example).
        """
        # Open for writing: NFS gives an exclusive lock to no other handle.
        with open_for_lock(self.folder / ".lock") as file:
            until = time.monotonic() + _WAIT
            while not try_lock(file, fcntl.LOCK_EX):
                if time.monotonic() > until:
                    raise OSError(f"another process holds the lock {self.folder / '.lock'}")
                time.sleep(0.005)
            yield

    def fits(self, count: int, keep: Path | None = None) -> bool:
        """Whether so many bytes more fit, while the folder is :meth:`held`.

        Caches that nobody uses make room, those first that were opened longest ago.

        Args:
            count: bytes.
            keep: the cache that asks.
        """
        self._measured, self._since = self._stored(), 0
        if self.used + count > self.limit:
            self._make_room(count, keep)
        return self.used + count <= self.limit

    def take(self, count: int) -> bool:
        """Whether so many bytes fit into a file that no other process sees; they are counted.

        The folder is measured from time to time only: several processes that take at once may go
        over the limit by what they took since.
        """
        if self.used + count > self.limit or self._since > _STALE:
            try:
                with self.held():
                    if not self.fits(count):
                        return False
            except OSError:
                return False
        self._private += count
        self._since += count
        return True

    def give_back(self, count: int) -> None:
        """Bytes of :meth:`take` that are free again."""
        self._private -= count

    def _caches(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if (path / ABOUT).is_file()]

    def _stored(self) -> int:
        return sum(_size(path) for folder in self._caches() for path in folder.iterdir())

    def _make_room(self, count: int, keep: Path | None) -> None:
        others = [path for path in self._caches() if path != keep]
        for folder in sorted(others, key=_modified):
            if self.used + count <= self.limit:
                return
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        names = {path.name for path in folder.iterdir()}
        if not all(_OWN_FILE.fullmatch(name) for name in names):
            return  # a user's own file lies there
        try:
            with open_for_lock(folder / LOCK) as lock:
                if not try_lock(lock, fcntl.LOCK_EX):
                    return  # in use
                freed = sum(_size(folder / name) for name in names)
                remove_files(folder)
        except OSError:
            return
        self._measured -= freed


def remove_files(folder: Path) -> None:
    """Remove a cache that is locked for this process alone.

    The index goes first and the mark of a cache last: after a kill in between, what is left is
    still a cache, of nothing, and is counted and removed as one.
    """
    names = {path.name for path in folder.iterdir()} - {ABOUT, DATA, LOCK}
    for name in (*sorted(names), DATA, LOCK, ABOUT):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def open_for_lock(path: Path) -> IO[bytes]:
    """A lock's file, open for reading and writing, created where it does not exist."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b")


def try_lock(file: IO[bytes], how: int) -> bool:
    """Lock a file now, or say that another process has it.

    A file system without locks gives every lock: one process at a time is then the user's concern.
    """
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return True


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0
