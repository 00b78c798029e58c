"""What activation_cache.py compares: key-value stores of one shape, whole records with checksums.

Each has ``write(items)``, all or none, ``read(keys)`` and ``close()``.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.store import ActivationCache

Items = Mapping[bytes, NDArray[np.uint8]]


class Store(Protocol):
    """What is measured."""

    def write(self, items: Items) -> None: ...

    def read(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.uint8]]: ...

    def close(self) -> None: ...


class Engine(ActivationCache):
    """Engine's own: an index in SQLite, records in a flat file, read with pread."""

    def __init__(self, folder: Path) -> None:
        budget = Budget(folder.parent, 1 << 50)
        super().__init__(folder, [Entry("x", (1,), True, "uint8")], budget, {})


class Former:
    """The store before: an append-only log of keys, read into a dictionary; data mapped."""

    _record = struct.Struct("<16sQII")

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._data = (folder / "0.data").open("ab", buffering=0)
        self._index = (folder / "0.index").open("ab", buffering=0)
        self._places: dict[bytes, tuple[int, int, int, int]] = {}
        self._checked: set[bytes] = set()
        self._map: mmap.mmap | None = None
        index, end = (folder / "0.index").read_bytes(), (folder / "0.data").stat().st_size
        index = index[: len(index) // self._record.size * self._record.size]
        for key, at, size, crc in self._record.iter_unpack(index):
            if at + size <= end:
                self._places.setdefault(key, (0, at, size, crc))

    def write(self, items: Items) -> None:
        at, records = os.fstat(self._data.fileno()).st_size, []
        for key, item in items.items():
            crc = zlib.crc32(item.data)
            records.append(self._record.pack(key, at, len(item), crc))
            self._places[key] = (0, at, len(item), crc)
            self._checked.add(key)
            at += len(item)
        self._data.write(b"".join(item.data for item in items.values()))
        self._index.write(b"".join(records))

    def read(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        found = {}
        for key in keys:
            place = self._places.get(key)
            if place is None:
                continue
            _, at, size, crc = place
            if not size:
                found[key] = np.empty(0, np.uint8)
                continue
            if self._map is None or len(self._map) < at + size:
                with (self._folder / "0.data").open("rb") as file:
                    self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            item = np.frombuffer(self._map, np.uint8, size, at)
            if key not in self._checked:
                if zlib.crc32(item.data) != crc:
                    continue
                self._checked.add(key)
            found[key] = item
        return found

    def close(self) -> None:
        self._data.close()
        self._index.close()


class Lmdb:
    """Keys and values in LMDB, without waiting for the disk."""

    def __init__(self, folder: Path) -> None:
        import lmdb

        folder.mkdir(exist_ok=True)
        how: dict[str, Any] = {"map_size": 1 << 38, "sync": False, "metasync": False}
        self._db = lmdb.open(str(folder), readahead=False, **how)

    def write(self, items: Items) -> None:
        pairs = [
            (key, zlib.crc32(item.data).to_bytes(4, "little") + item.tobytes())
            for key, item in sorted(items.items())
        ]
        with self._db.begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs, overwrite=False)

    def read(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        found = {}
        with self._db.begin(buffers=True) as transaction:
            for key, value in transaction.cursor().getmulti(sorted(keys)):
                item = np.frombuffer(value, np.uint8).copy()  # the page may be used again
                if zlib.crc32(item[4:].data) == int.from_bytes(item[:4].tobytes(), "little"):
                    found[bytes(key)] = item[4:]
        return found

    def close(self) -> None:
        self._db.close()


class Sqlite:
    """Keys and values in SQLite, without waiting for the disk, pages of 16 kB."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._db = sqlite3.connect(folder / "values.sqlite", isolation_level=None, timeout=30)
        for statement in (
            "PRAGMA page_size=16384",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE IF NOT EXISTS v(id INTEGER PRIMARY KEY, key BLOB, crc INT, value BLOB)",
            "CREATE UNIQUE INDEX IF NOT EXISTS k ON v(key)",
        ):
            self._db.execute(statement)

    def write(self, items: Items) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT OR IGNORE INTO v(key, crc, value) VALUES(?, ?, ?)",
            [(key, zlib.crc32(item.data), item.data) for key, item in items.items()],
        )
        self._db.execute("COMMIT")

    def read(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        found, wanted = {}, list(keys)
        for start in range(0, len(wanted), 256):
            some = wanted[start : start + 256]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, crc, value FROM v WHERE key IN ({marks})"
            for key, crc, value in self._db.execute(query, some):
                if zlib.crc32(value) == crc:
                    found[key] = np.frombuffer(value, np.uint8)
        return found

    def close(self) -> None:
        self._db.close()


class LmdbIndex:
    """An index in LMDB, records in a flat file, read with pread."""

    _head = struct.Struct("<16sII")

    def __init__(self, folder: Path) -> None:
        import lmdb

        folder.mkdir(exist_ok=True)
        how: dict[str, Any] = {"map_size": 1 << 36, "sync": False, "metasync": False}
        self._db = lmdb.open(str(folder), readahead=False, **how)
        self._data = os.open(folder / "data", os.O_RDWR | os.O_CREAT, 0o666)

    def write(self, items: Items) -> None:
        with self._db.begin(write=True) as transaction:
            start = end = int.from_bytes(transaction.get(b"end", b""), "little")
            pieces: list[Any] = []
            places = []
            for key, item in items.items():
                crc = zlib.crc32(item.data, zlib.crc32(key))
                pieces += [self._head.pack(key, len(item), crc), item.data]
                places.append((key, struct.pack("<QI", end, len(item))))
                end += self._head.size + len(item)
            os.pwrite(self._data, b"".join(pieces), start)
            transaction.cursor().putmulti(sorted(places), overwrite=False)
            transaction.put(b"end", end.to_bytes(8, "little"))

    def read(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.uint8]]:
        with self._db.begin() as transaction:
            places = [
                (key, *struct.unpack("<QI", value))
                for key, value in transaction.cursor().getmulti(sorted(keys))
            ]
        found = {}
        for key, at, size in sorted(places, key=lambda place: place[1]):
            buffer = np.empty(self._head.size + size, np.uint8)
            read = os.preadv(self._data, [buffer.data], at)
            own, length, crc = self._head.unpack_from(buffer)
            content = buffer[self._head.size :]
            whole = read == len(buffer) and (own, length) == (key, size)
            if whole and crc == zlib.crc32(content.data, zlib.crc32(key)):
                found[key] = content
        return found

    def close(self) -> None:
        self._db.close()
        os.close(self._data)


STORES: dict[str, Any] = {
    "engine": Engine,
    "former": Former,
    "lmdb": Lmdb,
    "sqlite": Sqlite,
    "lmdb index": LmdbIndex,
}
