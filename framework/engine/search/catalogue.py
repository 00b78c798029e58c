"""What an index knows of its pictures and their vectors: one SQLite file.

A write is a transaction: after a kill the file holds everything that was committed and nothing
else. SQLite's write-ahead log lets any number of processes read beside the one that writes.

A picture's path is stored as the bytes that the file system gives, so that a name in any encoding
finds its file again. Pictures with the same bytes share one vector.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError

FILE = "pictures.sqlite"
FORMAT = 1
_SECONDS = 30.0
"""That a process waits for another one's transaction."""

_SCHEMA = """
CREATE TABLE about(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE folders(id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE vectors(
  id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE, vector BLOB NOT NULL);
CREATE TABLE pictures(
  id INTEGER PRIMARY KEY, folder INTEGER NOT NULL, path BLOB NOT NULL, member TEXT NOT NULL,
  start INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL, taken REAL NOT NULL,
  vector INTEGER, error TEXT NOT NULL, run INTEGER NOT NULL, UNIQUE(path, member));
CREATE INDEX pictures_by_vector ON pictures(vector);
CREATE TABLE removed(id INTEGER PRIMARY KEY AUTOINCREMENT, vector INTEGER NOT NULL);
CREATE TABLE pairs(
  first INTEGER NOT NULL, second INTEGER NOT NULL, cosine REAL NOT NULL,
  PRIMARY KEY(first, second)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class CatalogueEntry:
    """A picture of an index.

    Attributes:
        path: of its file, or of the tar that holds it.
        member: its name within the tar; empty for a file.
        start: where its bytes begin in the file.
        size: how many bytes there are.
        mtime: when the file was changed, nanoseconds since 1970; -1: to be looked at again.
        taken: when the picture was taken, seconds since 1970 (EXIF, else the file's time).
        vector: number of its vector; ``None`` where it cannot be read.
        error: why it cannot be read; else empty.
    """

    path: Path
    member: str
    start: int
    size: int
    mtime: int
    taken: float
    vector: int | None
    error: str


class Catalogue:
    """The SQLite file of an index.

    Args:
        folder: of the index.
        writable: make the file where there is none, and allow changes (one process at a time, see
            ``engine.search.building``).

    Raises:
        DataError: there is no index, or it is damaged or of another format.
    """

    def __init__(self, folder: Path, *, writable: bool = False) -> None:
        self.folder, self._lock = folder, threading.RLock()
        path = folder / FILE
        if not writable and not path.is_file():
            raise DataError(f"{folder} is not an index: it has no {FILE}",
                            hint="`engine index PHOTOS -m MODEL -o INDEX` makes one")  # fmt: skip
        try:
            self._db = self._connect(path, writable)
            self._check(path)
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path} cannot be read as an index: {error}", hint="make the index again"
            ) from error

    def _connect(self, path: Path, writable: bool) -> sqlite3.Connection:
        where = "file:" + quote(os.fsencode(path.absolute()))
        if not writable:
            # Readers of a write-ahead log need its shared memory, which they make where they may.
            where += "?mode=ro" if os.access(path.parent, os.W_OK) else "?immutable=1"
        db = sqlite3.connect(
            where, uri=True, timeout=_SECONDS, isolation_level=None, check_same_thread=False
        )
        for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "cache_size=-16000"):
            db.execute(f"PRAGMA {pragma}")
        if writable:
            db.execute("PRAGMA page_size=16384")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
        return db

    def _check(self, path: Path) -> None:
        with self._lock:
            tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if not tables:
                first = f"INSERT INTO about VALUES('format', '{FORMAT}');"
                self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {first} COMMIT;")
        found = self.about("format")
        if found != str(FORMAT):
            raise DataError(f"{path} has format {found or 'none'}, and this Engine reads {FORMAT}",
                            hint="make the index again")  # fmt: skip

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a query gives."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def change(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """Make several changes, all or none."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    self._db.execute(sql, values)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    # ---- about the index as a whole

    def about(self, key: str) -> str:
        """A fact about the index; empty where it is not known."""
        found = self.rows("SELECT value FROM about WHERE key = ?", (key,))
        return str(found[0][0]) if found else ""

    def tell(self, key: str, value: str) -> None:
        """Keep a fact about the index."""
        self.change([("INSERT OR REPLACE INTO about VALUES(?, ?)", (key, value))])

    def snapshot(self) -> tuple[int, int]:
        """The number of the newest vector that was added, and of the newest removal."""
        sql = "SELECT (SELECT coalesce(max(id), 0) FROM vectors), coalesce(max(id), 0) FROM removed"
        added, removed = self.rows(sql)[0]
        return int(added), int(removed)

    def count(self) -> tuple[int, int, int]:
        """Vectors; pictures that could be read; pictures that could not."""
        sql = "SELECT (SELECT count(*) FROM vectors), count(vector), count(*) FROM pictures"
        vectors, read, all_ = self.rows(sql)[0]
        return int(vectors), int(read), int(all_) - int(read)

    # ---- pictures

    def entry(self, path: Path, member: str) -> CatalogueEntry | None:
        """A picture by its place."""
        found = self.rows(f"{_ENTRY} WHERE path = ? AND member = ?", (os.fsencode(path), member))
        return _entry(found[0]) if found else None

    def entries_of(self, vectors: Sequence[int]) -> dict[int, list[CatalogueEntry]]:
        """The pictures of each vector."""
        found: dict[int, list[CatalogueEntry]] = {number: [] for number in vectors}
        for part in _parts(list(found)):
            marks = ",".join("?" * len(part))
            for row in self.rows(f"{_ENTRY} WHERE vector IN ({marks}) ORDER BY path, member", part):
                found[row[6]].append(_entry(row))
        return found

    def broken(self) -> Iterator[CatalogueEntry]:
        """The pictures that could not be read, by their paths."""
        for row in self.rows(f"{_ENTRY} WHERE vector IS NULL ORDER BY path, member"):
            yield _entry(row)

    # ---- vectors

    def vector_of(self, digest: bytes) -> int | None:
        """The number of the vector of a file with this digest."""
        found = self.rows("SELECT id FROM vectors WHERE digest = ?", (digest,))
        return int(found[0][0]) if found else None

    def vectors_after(
        self, number: int, width: int, at_once: int = 20_000
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Vectors with larger numbers, in order: their numbers [N] and rows [N, width]."""
        while True:
            sql = "SELECT id, vector FROM vectors WHERE id > ? ORDER BY id LIMIT ?"
            found = self.rows(sql, (number, at_once))
            if not found:
                return
            yield _numbered(found, width)
            number = found[-1][0]

    def vectors(
        self, numbers: Sequence[int], width: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Some vectors: their numbers [N] and rows [N, width], in ascending order of numbers."""
        found: list[tuple[Any, ...]] = []
        for part in _parts(sorted(set(numbers))):
            marks = ",".join("?" * len(part))
            sql = f"SELECT id, vector FROM vectors WHERE id IN ({marks}) ORDER BY id"
            found += self.rows(sql, part)
        return _numbered(found, width)


_ENTRY = "SELECT path, member, start, size, mtime, taken, vector, error FROM pictures"


def _entry(row: tuple[Any, ...]) -> CatalogueEntry:
    return CatalogueEntry(Path(os.fsdecode(row[0])), *row[1:])


def _parts(numbers: list[int], at_once: int = 500) -> Iterator[list[int]]:
    for start in range(0, len(numbers), at_once):
        yield numbers[start : start + at_once]


def _numbered(
    rows: Sequence[tuple[Any, ...]], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    numbers = np.array([row[0] for row in rows], np.int64)
    data = b"".join(row[1] for row in rows)
    if len(data) != 4 * width * len(rows):
        raise DataError("the index is damaged: a vector has another width",
                        hint="make the index again")  # fmt: skip
    return numbers, np.frombuffer(data, np.float32).reshape(len(rows), width)
