"""The few steps that change files for good, in one place so that tests can cut each one off.

Everything that must survive a kill calls them as ``steps.replace(...)``, never by an imported name,
so that a test can put a wrapper in their place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

_AT_FDCWD, _EXCHANGE = -100, 2
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
"""What kernels and file systems answer that cannot exchange; EPERM comes from container filters."""


def write_synced(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file and have it on the disk before going on. Not atomic: write a temporary name.

    A symbolic link of that name is not followed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def append(handle: int, data: bytes) -> None:
    """Write at the end of an open file, all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def replace(source: Path, target: Path) -> None:
    """Rename over whatever is there, and have the folder on the disk."""
    source.replace(target)
    sync_folder(target.parent)


def move(source: Path, target: Path) -> None:
    """Rename over whatever is there."""
    source.replace(target)


def exchange(first: Path, second: Path) -> bool:
    """Let two names change places in one step that a crash cannot split.

    Returns:
        False where the system or the file system cannot do that; nothing has changed then.

    Raises:
        OSError: one of them is missing, or may not be renamed.
    """
    call = _exchanging()
    if call is None:
        return False
    code = call(os.fsencode(first), os.fsencode(second))
    if code in _UNSUPPORTED:
        return False
    if code:
        raise OSError(code, os.strerror(code), str(first), None, str(second))
    sync_folder(second.parent)
    return True


def remove(path: Path) -> None:
    """Remove a file that may be gone already."""
    path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it, or a file. Symbolic links are removed, not followed.

    What cannot be removed stays; the next writer tries again.
    """
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk; not every file system can, and those are passed over."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


@functools.cache
def _exchanging() -> Callable[[bytes, bytes], int] | None:
    """``renameat2(..., RENAME_EXCHANGE)`` of Linux (3.15 and later), giving an error number."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
    own = getattr(libc, "renameat2", None)  # glibc 2.28, musl 1.2.5 and later
    number = _RENAMEAT2.get(platform.machine())
    if own is None and number is None:
        return None

    def call(first: bytes, second: bytes) -> int:
        if own is not None:
            result = own(_AT_FDCWD, first, _AT_FDCWD, second, ctypes.c_uint(_EXCHANGE))
        else:
            result = libc.syscall(
                ctypes.c_long(number or 0), _AT_FDCWD, first, _AT_FDCWD, second,
                ctypes.c_uint(_EXCHANGE),
            )  # fmt: skip
        return ctypes.get_errno() if result else 0

    return call
