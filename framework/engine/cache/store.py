"""The store of what stretches of a tower gave: written once, read through memory maps.

A folder a fingerprint (``fingerprint.py``), in it parts of two append-only files: ``N.data`` holds
the items end to end, ``N.index`` groups of records that say where each is. A process writes into
one part, which it locks, and reads all of them; so processes and runs share a store. A group is
written after its data, in one piece: what a kill cut short is dropped whole when the store is
opened. Every item carries a checksum, compared when a process reads it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.cache.items import Entry

KEY = 16
"""Bytes of a key."""

_GROUP = struct.Struct("<4sIII")  # mark, number of records, their crc32, 0
_RECORD = struct.Struct(f"<{KEY}sQII")  # key, offset, bytes, crc32
_MARK = b"EGC1"
_OWN_FILE = re.compile(r"store\.json|\d+\.(data|index)")


class Budget:
    """The bytes that the stores of a folder may hold.

    A process counts what lay there when it looked (:meth:`measure`) and what it adds; several at
    once may go over the limit together, by what they add until they look again.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.limit, self.used = folder, limit, 0
        self.measure()

    def measure(self) -> None:
        """Look at what lies in the folder now."""
        with self.held():
            self.used = sum(_size(path) for store in self._stores() for path in store.iterdir())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """In no process is a store opened or removed meanwhile."""
        with (self.folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def take(self, count: int, keep: Path | None = None) -> bool:
        """Whether so many bytes more fit; stores that nobody uses make room.

        Those go first that were opened longest ago.

        Args:
            count: bytes.
            keep: the store that asks.
        """
        if self.used + count > self.limit:
            with self.held():
                self._make_room(count, keep)
        if self.used + count > self.limit:
            return False
        self.used += count
        return True

    def _stores(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if (path / "store.json").is_file()]

    def _make_room(self, count: int, keep: Path | None) -> None:
        others = [path for path in self._stores() if path != keep]
        for folder in sorted(others, key=_modified):
            if self.used + count <= self.limit:
                return
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        files = list(folder.iterdir())
        if not all(_OWN_FILE.fullmatch(path.name) for path in files):
            return  # something of a user's lies there
        handles = []
        try:
            for path in folder.glob("*.index"):
                handles.append(path.open("rb"))
                fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # in use
        else:
            for path in files:
                self.used -= _size(path)
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        finally:
            for handle in handles:
                handle.close()


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def _modified(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


class Store:
    """Items by key: the rows of a state at one place of one tower.

    Args:
        folder: of this fingerprint.
        entries: what an item is made of.
        budget: what it may take.
        about: what the store is, for a person who finds it (JSON types).
        say: told once where the store cannot grow any more, or an item was damaged.
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[Entry],
        budget: Budget,
        about: dict[str, Any],
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.folder, self.entries = folder, tuple(entries)
        self._budget, self._say = budget, say
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        self._checked: set[bytes] = set()
        self._maps: dict[int, mmap.mmap] = {}
        self._read_to: dict[int, int] = {}
        self._full = False
        text = json.dumps({**about, "entries": [asdict(entry) for entry in entries]}, indent=1)
        with budget.held():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "store.json").write_text(text + "\n", encoding="utf-8")
            self._own, self._index = self._claim()
            os.utime(folder)  # used now: the last that makes room for others
        self._data: IO[bytes] = (folder / f"{self._own}.data").open("ab", buffering=0)
        self.refresh()
        self._cut_torn_ends()

    def _claim(self) -> tuple[int, IO[bytes]]:
        """The first part that no process writes, locked."""
        number = 0
        while True:
            file = (self.folder / f"{number}.index").open("ab", buffering=0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                number += 1
                continue
            return number, file

    def _cut_torn_ends(self) -> None:
        """Drop what a kill left half-written in the own part."""
        os.truncate(self._index.fileno(), self._read_to[self._own])
        ends = [o + n for part, o, n, _ in self._places.values() if part == self._own]
        os.truncate(self._data.fileno(), max(ends, default=0))

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        for path in self.folder.glob("*.index"):
            if not _OWN_FILE.fullmatch(path.name):
                continue
            part = int(path.stem)
            with path.open("rb") as file:
                file.seek(self._read_to.get(part, 0))
                read = file.read()
            done = 0
            data = _size(self.folder / f"{part}.data")
            for records, end in _groups(read):
                for key, offset, size, crc in records:
                    if offset + size <= data:
                        self._places.setdefault(key, (part, offset, size, crc))
                done = end
            self._read_to[part] = self._read_to.get(part, 0) + done

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, key: bytes) -> NDArray[np.uint8] | None:
        """An item's bytes; ``None`` where it is not there, or damaged."""
        place = self._places.get(key)
        if place is None:
            return None
        part, offset, size, crc = place
        found = np.frombuffer(self._map(part, offset + size), np.uint8, size, offset)
        if key not in self._checked:
            if zlib.crc32(found.data) != crc:
                del self._places[key]
                self._say(f"cache {self.folder.name}: an item is damaged; computed again")
                return None
            self._checked.add(key)
        return found

    def write(self, items: dict[bytes, NDArray[np.uint8]]) -> None:
        """Add items, all or none; where there is no room left, none, and it is told once."""
        total = sum(map(len, items.values())) + _GROUP.size + len(items) * _RECORD.size
        if self._full or not items:
            return
        if not self._budget.take(total, self.folder):
            self._stop("the budget of the cache is used up")
            return
        offset = os.fstat(self._data.fileno()).st_size
        at, records, places = offset, [], {}
        for key, item in items.items():
            crc = zlib.crc32(item.data)
            records.append(_RECORD.pack(key, at, len(item), crc))
            places[key] = (self._own, at, len(item), crc)
            at += len(item)
        packed = b"".join(records)
        group = _GROUP.pack(_MARK, len(records), zlib.crc32(packed), 0) + packed
        index = os.fstat(self._index.fileno()).st_size
        try:
            _write_all(self._data, b"".join(item.data for item in items.values()))
            _write_all(self._index, group)
        except OSError as error:
            os.truncate(self._data.fileno(), offset)
            os.truncate(self._index.fileno(), index)
            self._stop(f"the cache cannot be written ({error.strerror or error})")
            return
        self._places |= places
        self._checked |= places.keys()
        self._read_to[self._own] = index + len(group)

    def _stop(self, why: str) -> None:
        self._full = True
        self._say(f"{why}: what is not stored yet is computed each time")

    def _map(self, part: int, end: int) -> mmap.mmap:
        found = self._maps.get(part)
        if found is None or len(found) < end:
            with (self.folder / f"{part}.data").open("rb") as file:
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[part] = found  # the one before is closed once no array looks into it
        return found

    def close(self) -> None:
        """Let others write this part."""
        self._index.close()
        self._data.close()


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _groups(data: bytes) -> Iterator[tuple[list[tuple[bytes, int, int, int]], int]]:
    """The whole groups of records, each with where it ends."""
    at = 0
    while at + _GROUP.size <= len(data):
        mark, count, crc, _ = _GROUP.unpack_from(data, at)
        end = at + _GROUP.size + count * _RECORD.size
        packed = data[at + _GROUP.size : end]
        if mark != _MARK or end > len(data) or zlib.crc32(packed) != crc:
            return
        yield list(_RECORD.iter_unpack(packed)), end
        at = end
