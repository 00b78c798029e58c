"""The index of a cache: where each record begins in the data file. An SQLite file.

32 bytes a key on disk and none in memory, opened in a time that does not depend on its length.
Locks, transactions and the recovery of a write that a kill cut short are SQLite's. Nothing is
mapped into memory, so a file that somebody truncates gives an error and not SIGBUS.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

FILE = "index.sqlite"
EMPTY_BYTES = 16_384
"""Bytes of an index without any key."""

_PAGE = 4096

_FORMAT = 3
_SECONDS = 10.0
"""That a process waits for another one's transaction, which takes milliseconds."""

_SCHEMA = (
    "CREATE TABLE items(key BLOB PRIMARY KEY, place INTEGER NOT NULL, size INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "CREATE TABLE data(end INTEGER NOT NULL)",
)
_PRAGMAS = (
    f"page_size={_PAGE}",
    # A cache may lose its last writes in a power cut, and every record is checked when it is
    # read, so waiting for the disk would buy nothing.
    "synchronous=OFF",
    "journal_mode=DELETE",
    "mmap_size=0",
    "cache_size=-8000",
    "temp_store=MEMORY",
    "cell_size_check=ON",
    "trusted_schema=OFF",
)
_AT_ONCE = 1024


def growth(keys: int) -> int:
    """Bytes that the file grows by at most when so many new keys are added.

    On the average of many keys it is 32 to 46 bytes each. But keys are spread evenly, so pages fill
    up, and are split, at about the same time.
    """
    return 192 * keys + 4 * _PAGE


class DamagedIndexError(Exception):
    """The file is not an index of this format, or its pages contradict each other."""


class EntryPlace(NamedTuple):
    """Where a record stands.

    Attributes:
        key: of the record.
        at: its first byte in the data file.
        size: bytes of its content, without the record's head.
    """

    key: bytes
    at: int
    size: int


class Index:
    """Keys and their places.

    Args:
        folder: of the cache; the file is created where it does not exist, unless ``read_only``.
        read_only: only look things up.

    Raises:
        DamagedIndexError: see there; also from every other method.
        OSError: the file cannot be opened, the disk is full, or another process holds a lock for
            too long; also from every other method.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self._path = folder / FILE
        if not read_only:
            self._open("mode=rwc")
            return
        try:
            self._open("mode=ro")
        except OSError:
            # A file system without locks, or a journal that only a writer may undo. What such a
            # file says may be old or torn; every record is checked by itself.
            self._open("mode=ro&immutable=1")

    def _open(self, how: str) -> None:
        with _translated():
            self._db = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?{how}",
                uri=True,
                timeout=_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._db.text_factory = bytes  # a damaged text need not be UTF-8
            with _translated():
                for pragma in _PRAGMAS:
                    self._db.execute(f"PRAGMA {pragma}")
                found = self._schema()
                if not found and how == "mode=rwc":
                    self._create()
                    found = self._schema()
            if found != (_FORMAT, *(statement.encode() for statement in _SCHEMA)):
                raise DamagedIndexError("not an index of this format")
        except BaseException:
            self._db.close()
            raise

    def _schema(self) -> tuple[object, ...]:
        statements = [sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_schema") if sql]
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        return (version, *statements) if statements or version else ()

    def _create(self) -> None:
        with self.writing():
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute("INSERT INTO data VALUES(0)")
            self._db.execute(f"PRAGMA user_version={_FORMAT}")

    def find(self, keys: Iterable[bytes]) -> list[EntryPlace]:
        """The places of those keys that are there, in any order."""
        wanted, found = list(keys), []
        with _translated():
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                # A power of two, so that few different statements are compiled.
                some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
                marks = ",".join("?" * len(some))
                query = f"SELECT key, place, size FROM items WHERE key IN ({marks})"
                found += self._db.execute(query, some).fetchall()
        if any(type(at) is not int or type(size) is not int for _, at, size in found):
            raise DamagedIndexError("a place is not a number")
        return [EntryPlace(*row) for row in found]

    def __len__(self) -> int:
        with _translated():
            (count,) = self._db.execute("SELECT count(*) FROM items").fetchone()
        return int(count)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: no other process writes meanwhile; undone where an error leaves it."""
        with _translated():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with _translated():
                self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def end(self) -> int:
        """Where the data file's next record belongs; what stands behind it is waste of a kill."""
        with _translated():
            rows = self._db.execute("SELECT end FROM data").fetchall()
        if len(rows) != 1 or type(rows[0][0]) is not int or rows[0][0] < 0:
            raise DamagedIndexError("it does not say where the data end")
        return int(rows[0][0])

    def add(self, places: Sequence[EntryPlace], end: int) -> None:
        """Within :meth:`writing`: add new keys."""
        with _translated():
            self._db.executemany("INSERT INTO items VALUES(?, ?, ?)", sorted(places))
            self._db.execute("UPDATE data SET end = ?", (end,))

    def remove(self, places: Sequence[EntryPlace]) -> None:
        """Within :meth:`writing`: forget records; not those that were written again since."""
        with _translated():
            self._db.executemany(
                "DELETE FROM items WHERE key = ? AND place = ?", [(p.key, p.at) for p in places]
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """SQLite's errors as ``DamagedIndexError`` and ``OSError``."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # Locked, full, read-only, an I/O error; "no such table" and similar errors are damage.
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            raise DamagedIndexError(str(error)) from error
        raise OSError(str(error)) from error
    except (sqlite3.Error, UnicodeError) as error:
        raise DamagedIndexError(str(error)) from error
