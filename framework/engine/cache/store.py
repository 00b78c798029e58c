"""The activation cache: records by key, written by any number of processes, read by all of them.

::

    FOLDER/.lock               held while a cache is created, written or removed
    FOLDER/NAME/index.sqlite   where each record begins
    FOLDER/NAME/data           the records, end to end
    FOLDER/NAME/lock           shared by those who have it open; exclusive to remove it
    FOLDER/NAME/about.json     what it is, for people

A record is its key, its length, a checksum of both and of its content, and the content. It is
written before the index names it, where the index says that the data ends; what a kill cut short
lies behind that end and is written over. Records are read with ``pread`` and checked each time, so
neither a damaged disk nor a file that somebody truncates can give a wrong number or end a process.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.cache.budget import (
    ABOUT,
    DATA,
    LOCK,
    READ_ONLY,
    Budget,
    open_for_lock,
    remove_files,
    try_lock,
)
from engine.cache.entry import Entry
from engine.cache.index import EMPTY_BYTES, DamagedIndexError, EntryPlace, Index, growth

_log = logging.getLogger(__name__)

KEY = 16
"""Bytes of a key."""

_HEAD = struct.Struct(f"<{KEY}sII")  # key, bytes of content, crc32 of both and the content
_NAMED = struct.Struct(f"<{KEY}sI")
_LARGEST = 1 << 31
_PIECES = 512
"""Buffers that one ``pwritev`` takes (IOV_MAX is 1024)."""

Item = NDArray[np.uint8]

_inherited: list[object] = []
"""What a forked process got of its parent and must neither use nor close."""


class ActivationCache:
    """Records by key: the rows of a state at one place of one tower.

    Nothing that goes wrong with its files stops a run: what cannot be read is computed again, what
    cannot be written is not kept, which is logged once. May be used by several threads and
    after a fork.

    Args:
        folder: of this cache, in the budget's.
        entries: what a record is made of.
        budget: what the caches of the folder may take.
        about: what the cache is, for a person who finds it (JSON types).
    """

    def __init__(
        self,
        folder: Path,
        entries: Sequence[Entry],
        budget: Budget,
        about: Mapping[str, Any],
    ) -> None:
        self.folder, self.entries = folder, tuple(entries)
        self._budget, self._about = budget, dict(about)
        self._guard = threading.RLock()
        self._warned = False
        self._index: Index | None = None
        self._data = -1
        self._lock: IO[bytes] | None = None
        self._writable = False
        self._open()

    # ---- opening --------------------------------------------------------------------------------

    def _open(self) -> None:
        self._process = os.getpid()
        try:
            if self._budget.problem:
                self._open_to_read()
            else:
                self._open_to_write()
        except (OSError, DamagedIndexError) as error:
            self._let_go()
            if not isinstance(error, OSError) or error.errno not in READ_ONLY:
                self._give_up(error)
                return
            try:
                self._open_to_read()
            except (OSError, DamagedIndexError):
                self._let_go()
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        why = self._budget.problem or getattr(error, "strerror", None) or error
        self._tell(f"cannot be used ({why}): everything is computed")

    def _open_to_write(self) -> None:
        with self._budget.held():
            new = not (self.folder / ABOUT).is_file()
            if new and not self._budget.fits(EMPTY_BYTES):
                self._tell("has no room within the budget: everything is computed")
                return
            self._make(new)
            try:
                self._index = Index(self.folder)
            except DamagedIndexError:
                self._replace()
            os.utime(self.folder)  # used now: the last that makes room for others
        self._writable = True

    def _make(self, new: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if new:
            about = {**self._about, "entries": [asdict(entry) for entry in self.entries]}
            (self.folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        self._lock = open_for_lock(self.folder / LOCK)
        try_lock(self._lock, fcntl.LOCK_SH)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._data = os.open(self.folder / DATA, flags, 0o666)

    def _replace(self) -> None:
        """Begin an empty cache in place of a damaged one, unless another process has it open.

        Raises:
            DamagedIndexError: another process has it open.
        """
        assert self._lock is not None
        if not try_lock(self._lock, fcntl.LOCK_EX):
            raise DamagedIndexError("another process has it open")
        self._let_go()
        remove_files(self.folder)
        self._make(new=True)
        self._index = Index(self.folder)
        self._tell("was damaged and is begun again")

    def _open_to_read(self) -> None:
        self._data = os.open(self.folder / DATA, os.O_RDONLY | os.O_CLOEXEC)
        self._index = Index(self.folder, read_only=True)
        why = self._budget.problem or "read-only"
        self._tell(f"cannot grow ({why}): what it does not hold yet is computed each time")

    def _ready(self) -> Index | None:
        """The index, opened again in a process that was forked; ``None`` where there is none."""
        if self._process != os.getpid():
            _inherited.extend((self._index, self._lock))
            self._index, self._lock, self._data, self._writable = None, None, -1, False
            self._open()
        return self._index

    # ---- reading --------------------------------------------------------------------------------

    def known(self, keys: Iterable[bytes]) -> set[bytes]:
        """Those of the keys that the index names. Their records are not looked at."""
        with self._guard:
            return {place.key for place in self._find(keys)}

    def __contains__(self, key: bytes) -> bool:
        return bool(self.known([key]))

    def __len__(self) -> int:
        with self._guard:
            index = self._ready()
            try:
                return 0 if index is None else len(index)
            except (OSError, DamagedIndexError):
                return 0

    def read(self, keys: Iterable[bytes]) -> dict[bytes, Item]:
        """The records of those keys that are there and whole, [bytes] uint8 each."""
        with self._guard:
            places = sorted(self._find(dict.fromkeys(keys)), key=lambda place: place.at)
            found: dict[bytes, Item] = {}
            damaged = []
            for place, item in zip(places, self._records(places), strict=True):
                if item is None:
                    damaged.append(place)
                else:
                    found[place.key] = item
            if damaged:
                self._forget(damaged)
            return found

    def _find(self, keys: Iterable[bytes]) -> list[EntryPlace]:
        index = self._ready()
        if index is None:
            return []
        try:
            return index.find(keys)
        except DamagedIndexError as error:
            self._begin_again(error)
        except OSError as error:
            self._tell(f"cannot be read ({error}): what it holds is computed again")
        return []

    def _records(self, places: Sequence[EntryPlace]) -> list[Item | None]:
        """Each record's content, in one buffer; ``None`` for one that is damaged."""
        try:
            length = os.fstat(self._data).st_size if places else 0
        except OSError:
            length = 0
        sizes = [_HEAD.size + place.size if _within(place, length) else 0 for place in places]
        starts = [0, *accumulate((size + 7) & ~7 for size in sizes)]  # aligned for numpy
        buffer = np.empty(starts[-1], np.uint8)
        view = buffer.data
        return [
            buffer[start + _HEAD.size : start + size]
            if size and self._read_one(place, view[start : start + size])
            else None
            for place, start, size in zip(places, starts, sizes, strict=False)
        ]

    def _read_one(self, place: EntryPlace, into: memoryview) -> bool:
        try:
            if os.preadv(self._data, [into], place.at) != len(into):
                return False
        except OSError:
            return False
        key, size, crc = _HEAD.unpack_from(into)
        expected = zlib.crc32(into[_HEAD.size :], zlib.crc32(into[: _NAMED.size]))
        return bool((key, size, crc) == (place.key, place.size, expected))

    def _forget(self, places: Sequence[EntryPlace]) -> None:
        """Damaged records: they may be written again."""
        self._tell(f"{len(places):,} records are damaged; they are computed again")
        if not self._writable or self._index is None:
            return
        try:
            with self._index.writing():
                self._index.remove(places)
        except (OSError, DamagedIndexError):
            return

    # ---- writing --------------------------------------------------------------------------------

    def write(self, items: Mapping[bytes, Item]) -> None:
        """Add records, all or none. Without room for them none is added; a warning says so once."""
        with self._guard:
            if self._ready() is None or not self._writable or not items:
                return
            if any(len(key) != KEY for key in items):
                raise ValueError(f"a key has {KEY} bytes")
            try:
                with self._budget.held():
                    self._append(items)
            except DamagedIndexError as error:
                self._begin_again(error)
            except OSError as error:
                self._stop(f"cannot be written ({error.strerror or error})")

    def _append(self, items: Mapping[bytes, Item]) -> None:
        assert self._index is not None
        with self._index.writing():
            there = {place.key for place in self._index.find(items)}
            places: list[EntryPlace] = []
            pieces: list[bytes | memoryview] = []
            start = end = self._index.end()
            for key, item in items.items():
                if key in there:
                    continue  # another process was faster
                named = _NAMED.pack(key, len(item))
                pieces += [named, zlib.crc32(item.data, zlib.crc32(named)).to_bytes(4, "little")]
                pieces.append(item.data)
                places.append(EntryPlace(key, end, len(item)))
                end += _HEAD.size + len(item)
            more = end - start + growth(len(places))
            if places and not self._budget.fits(more, self.folder):
                self._stop("has used up its budget")
                return
            _write_all(self._data, pieces, start)
            self._index.add(places, end)

    def _stop(self, why: str) -> None:
        self._writable = False
        self._tell(f"{why}: what it does not hold yet is computed each time")

    def _begin_again(self, why: DamagedIndexError) -> None:
        """The index turned out to be damaged: an empty one, or none until the next opening."""
        try:
            if self._writable:
                with self._budget.held():
                    self._replace()
                return
        except (OSError, DamagedIndexError):
            pass
        self._let_go()
        self._tell(f"is damaged ({why}): everything is computed")

    def _tell(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("the activation cache %s %s", self.folder, what)

    # ---- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the files; the cache then holds nothing and keeps nothing."""
        with self._guard:
            if self._process == os.getpid():
                self._let_go()

    def _let_go(self) -> None:
        if self._index is not None:
            self._index.close()
        if self._lock is not None:
            self._lock.close()
        if self._data >= 0:
            os.close(self._data)
        self._index, self._lock, self._data, self._writable = None, None, -1, False

    def __enter__(self) -> ActivationCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _within(place: EntryPlace, length: int) -> bool:
    """Whether an index that may be damaged names a record inside of the data."""
    at, size = place.at, place.size
    return at >= 0 and 0 <= size < _LARGEST and at + _HEAD.size + size <= length


def _write_all(file: int, pieces: Sequence[bytes | memoryview], at: int) -> None:
    """Write buffers end to end from a place on; the system may take a part at a time."""
    for first in range(0, len(pieces), _PIECES):
        left = [memoryview(piece) for piece in pieces[first : first + _PIECES]]
        while left:
            written = os.pwritev(file, left, at)
            at += written
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]
