"""Files from outside are opened without waiting: a pipe or a device may bear a file's name."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file (or a link to one) to read it, from its beginning.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is a folder, a pipe, a socket or a device, or must not be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("is not a file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, maximum: int) -> bytes:
    """A regular file's bytes.

    Args:
        path: of the file.
        maximum: bytes that it may have.

    Raises:
        FileNotFoundError: there is none.
        OSError: see :func:`open_regular`; or it has more bytes, which are then not read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > maximum:
            raise OSError(f"the file has {size:,} bytes, and {maximum:,} are allowed")
        return file.read(size)  # memory is taken for what is there, not for what might be


def prefetch(path: Path) -> None:
    """Ask the system to read a regular file into its cache meanwhile; a hint, which may be ignored.

    A mapped file is otherwise read page by page when its numbers are first used, in their order.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError), open_regular(path) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
