"""One process at a time at a folder, and a message that says who is there.

The lock is the kernel's (``flock``), so it ends with its process however that ends. The lock's file
says who holds it, and is removed with the lock; one that a killed process left is taken over.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from engine.core.files.temporary import same_file, try_lock
from engine.errors import DataError, EngineError

_TICK = 0.05


class Lock:
    """A lock that is held until :meth:`release`.

    Args:
        path: the lock's file; its folder exists.
        message: what is wrong where another process holds the lock; who it is is added.
        wait: seconds to wait for another holder before giving up.
        error: the type of error that is raised then.
        hint: what the user can do.

    Attributes:
        handle: the file descriptor. A child process that inherits it holds the lock as well.

    Raises:
        EngineError: another process holds the lock, and who.
        OSError: the lock's file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        message: str,
        *,
        wait: float = 30.0,
        error: type[EngineError] = DataError,
        hint: str = "wait for it, or stop it",
    ) -> None:
        self.path, self._message, self._error, self._hint = path, message, error, hint
        self.handle = self._take(time.monotonic() + wait)
        self._say_who()

    def _take(self, give_up: float) -> int:
        while True:
            handle = self._open()
            if try_lock(handle):
                if same_file(self.path, handle):
                    return handle
                os.close(handle)  # its holder removed it while we waited: a new one
                continue
            holder = os.pread(handle, 500, 0).decode(errors="replace").strip()
            os.close(handle)
            if time.monotonic() >= give_up:
                raise self._error(f"{self._message} ({_plain(holder)})", hint=self._hint)
            time.sleep(_TICK)

    def _open(self) -> int:
        # O_NONBLOCK: a named pipe of that name must not stop us.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(self.path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise self._error(f"{self.path} is not a regular file, so it cannot be a lock")
        return handle

    def _say_who(self) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        text = f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, text.encode(), 0)

    def release(self) -> None:
        """Remove the lock's file and let others in."""
        with contextlib.suppress(OSError):
            if same_file(self.path, self.handle):
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self.handle)


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable()) or "unknown"


@contextlib.contextmanager
def locked(
    path: Path,
    message: str,
    *,
    wait: float = 30.0,
    error: type[EngineError] = DataError,
    hint: str = "wait for it, or stop it",
) -> Iterator[Lock]:
    """Hold a :class:`Lock` within a ``with``."""
    lock = Lock(path, message, wait=wait, error=error, hint=hint)
    try:
        yield lock
    finally:
        lock.release()
