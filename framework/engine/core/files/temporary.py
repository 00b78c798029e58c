"""Temporary files and folders: names that nobody else has, and no leftovers of dead processes.

A temporary lies beside what it will become, so that a rename suffices. Its process holds a lock
(``flock``) on it. The kernel drops the lock when the process dies, in whatever way; so a temporary
that can be locked belongs to nobody, and the next writer removes it. Process ids do not matter: in
containers the same few come back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.core.files import steps

_NAME = re.compile(
    r"\.(?P<name>.+)\.(?P<boot>[0-9a-f]{8})-[0-9]+-[0-9a-f]{12}\.(?P<kind>tmp|old)", re.DOTALL
)
_LONGEST = 120  # bytes of the target's name in a temporary's
_FOREIGN_AGE = 3600.0
"""Seconds without a change after which a temporary of another machine, or of this machine before
its last start, counts as left over: locks are not always seen across machines."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF}
SCRATCH = "engine-scratch"


@dataclass
class Temporary:
    """A temporary file or folder that this process holds.

    Attributes:
        path: where it is.
        handle: its file descriptor, with the lock.
    """

    path: Path
    handle: int

    def discard(self) -> None:
        """Remove what lies under the temporary name, if anything does, and let go of it."""
        try:
            if os.path.lexists(self.path):
                steps.remove_tree(self.path)
        finally:
            with contextlib.suppress(OSError):
                os.close(self.handle)


def name_for(target: Path, kind: str = "tmp") -> Path:
    """A name beside ``target`` that nothing has; ``kind`` is ``tmp`` or ``old``."""
    rest = f"{_boot()}-{os.getpid()}-{secrets.token_hex(6)}"
    return target.with_name(f".{short_name(target.name)}.{rest}.{kind}")


def make_file(target: Path) -> Temporary:
    """A new temporary file beside ``target``, open for reading and writing, for its owner only."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        path = name_for(target)
        found = _held(path, os.open(path, flags, 0o600))
        if found is not None:
            return found


def make_folder(target: Path) -> Temporary:
    """A new temporary folder beside ``target``."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        path = name_for(target)
        path.mkdir()
        try:
            handle = os.open(path, flags)
        except FileNotFoundError:  # another process took it for a leftover
            continue
        found = _held(path, handle)
        if found is not None:
            return found


def _held(path: Path, handle: int) -> Temporary | None:
    """Lock what was just made; ``None`` where another process removed it before."""
    try_lock(handle, wait=True)
    if same_file(path, handle):
        return Temporary(path, handle)
    os.close(handle)
    return None


def try_lock(handle: int, *, wait: bool = False) -> bool:
    """Take the lock of an open file; True also where the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def same_file(path: Path, handle: int) -> bool:
    """Whether a name still leads to an open file."""
    try:
        there, own = os.lstat(path), os.fstat(handle)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def sweep(folder: Path) -> None:
    """Remove the temporaries in a folder whose processes are gone. Errors are passed over."""
    for path, kind in _found(folder):
        if kind == "old" and not os.path.lexists(target_of_replaced(path)):
            continue  # the only copy: `recover` puts it back
        with contextlib.suppress(OSError):
            _remove_if_dead(path)


def replaced_folders(target: Path) -> list[Path]:
    """Folders that were set aside for a new ``target``, the latest first."""
    own = short_name(target.name)
    found = [path for path, kind in _found(target.parent) if kind == "old"]
    mine = [path for path in found if _name_in(path) == own]
    return sorted(mine, key=lambda path: path.lstat().st_ctime, reverse=True)


def target_of_replaced(path: Path) -> Path:
    """What a folder was called before it was set aside (a long name is found by its beginning)."""
    name = _name_in(path)
    if "~" not in name:
        return path.with_name(name)
    for other in path.parent.iterdir():
        if short_name(other.name) == name:
            return other
    return path.with_name(name)


def _found(folder: Path) -> Iterator[tuple[Path, str]]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(".")]
    except OSError:
        return
    for name in names:
        match = _NAME.fullmatch(name)
        if match:
            yield folder / name, match["kind"]


def _name_in(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return match["name"] if match else ""


def _remove_if_dead(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        flags = os.O_RDONLY | os.O_DIRECTORY
    elif stat.S_ISREG(mode):
        flags = os.O_RDWR  # over NFS a lock needs a file that is open for writing
    else:
        return  # not ours: we make no links and no devices
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if try_lock(handle) and same_file(path, handle) and _is_old_enough(path):
            steps.remove_tree(path)
    finally:
        os.close(handle)


def _is_old_enough(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    if match and match["boot"] == _boot():
        return True
    newest = path.lstat().st_mtime
    if path.is_dir():
        newest = max([newest, *(each.lstat().st_mtime for each in path.iterdir())])
    return time.time() - newest > _FOREIGN_AGE


def short_name(name: str) -> str:
    """A name, or where it is long its beginning and a digest: a temporary's may have 255 bytes."""
    data = os.fsencode(name)
    if len(data) <= _LONGEST and "~" not in name:
        return name
    digest = hashlib.sha256(data).hexdigest()[:8]
    return os.fsdecode(data[: _LONGEST - 9]) + "~" + digest


@functools.cache
def _boot() -> str:
    """Which start of which machine this is, 8 hexadecimal digits; the same in all containers."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        text = socket.gethostname()
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A folder for temporary files, gone at the end; those of killed processes go as well.

    It lies beside the data, because a system's own folder for such files often is memory; where
    that is read-only, it lies in the system's.
    """
    folder = beside.absolute().parent
    where = folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
    sweep(where)
    held = make_folder(where / SCRATCH)
    try:
        yield held.path
    finally:
        held.discard()
