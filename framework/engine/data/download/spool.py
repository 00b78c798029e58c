"""JPEGs on their way into a tar: appended to one file a shard and run, each with its position.

Files are cheap to append to and dear to make: a file an image would cost more than its encoding.
A record that was cut off is the last of its file and counts for nothing; every run begins a file
of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from engine.core.files import steps

_HEAD = struct.Struct(">4sQI")
_MARK = b"JPG1"


class Spool:
    """The spool of a folder, one run's view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[int, int] = {}

    def append(self, shard: int, position: int, data: bytes) -> None:
        """Add a JPEG; it is with the system, if not on the disk, when this returns."""
        handle = self._open.get(shard)
        if handle is None:
            handle = self._open[shard] = self._begin(shard)
        steps.append(handle, _HEAD.pack(_MARK, position, len(data)) + data)

    def _begin(self, shard: int) -> int:
        number = 1 + max((int(path.suffix[1:]) for path in self.files(shard)), default=0)
        path = self.folder / f"{shard:05d}.{number}"
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def files(self, shard: int | None = None) -> list[Path]:
        """The files of a shard, or all, oldest first."""
        found = [path for path in self.folder.glob("*.*") if path.suffix[1:].isdigit()]
        kept = [path for path in found if shard is None or path.stem == f"{shard:05d}"]
        return sorted(kept, key=lambda path: (path.stem, int(path.suffix[1:])))

    def clear(self, shard: int) -> None:
        """Remove a shard's files."""
        handle = self._open.pop(shard, None)
        if handle is not None:
            os.close(handle)
        for path in self.files(shard):
            steps.remove(path)

    def close(self) -> None:
        """Close what is open."""
        for handle in self._open.values():
            with contextlib.suppress(OSError):
                os.close(handle)
        self._open.clear()


class Spooled:
    """The JPEGs of one shard's spool, to be read in any order. Use as a context."""

    def __init__(self, spool: Spool, shard: int) -> None:
        self._paths = spool.files(shard)
        self._where: dict[int, list[tuple[int, int, int]]] = {}
        self._handles: list[int] = []

    def __enter__(self) -> Spooled:
        for number, path in enumerate(self._paths):
            self._handles.append(os.open(path, os.O_RDONLY))
            for position, offset, size in _records(self._handles[number]):
                self._where.setdefault(position, []).append((number, offset, size))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            os.close(handle)

    def read(self, position: int, digest: bytes) -> bytes | None:
        """The JPEG of a position with this SHA-256, or ``None``."""
        for number, offset, size in reversed(self._where.get(position, ())):
            data = os.pread(self._handles[number], size, offset)
            if hashlib.sha256(data).digest() == digest:
                return data
        return None


def _records(handle: int) -> Iterator[tuple[int, int, int]]:
    """Position, offset and size of each whole record."""
    end, at = os.fstat(handle).st_size, 0
    while at + _HEAD.size <= end:
        mark, position, size = _HEAD.unpack(os.pread(handle, _HEAD.size, at))
        at += _HEAD.size
        if mark != _MARK or at + size > end:
            return
        yield position, at, size
        at += size
