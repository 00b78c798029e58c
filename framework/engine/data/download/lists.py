"""The two lists become one table in list order: SQLite does the join, on the disk.

An image that stands in only one list is counted and left out; so is a bad line, which is listed
too. The table is made under a temporary name and renamed: a cut-off import leaves nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.files import steps
from engine.core.progress import Progress, silent
from engine.data.click_log import (
    MAX_LINE,
    REPEATED,
    BadLineError,
    parse_queries,
    parse_url,
    read_lines,
)
from engine.data.download.settings import DownloadSettings
from engine.errors import DataError

VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    position INTEGER PRIMARY KEY, id TEXT NOT NULL, url TEXT NOT NULL,
    queries TEXT NOT NULL, texts INTEGER NOT NULL);
CREATE TABLE downloaded (
    position INTEGER PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL,
    size INTEGER NOT NULL, sha256 BLOB NOT NULL);
CREATE TABLE failed (
    position INTEGER PRIMARY KEY, kind TEXT NOT NULL, detail TEXT NOT NULL, host TEXT NOT NULL,
    attempts INTEGER NOT NULL);
CREATE TABLE sealed (shard INTEGER PRIMARY KEY, images INTEGER NOT NULL);
CREATE TABLE bad (
    list TEXT NOT NULL, line INTEGER NOT NULL, reason INTEGER NOT NULL,
    PRIMARY KEY (list, line)) WITHOUT ROWID;
"""

_RAW = """
CREATE TABLE raw.{list} (line INTEGER PRIMARY KEY, id TEXT NOT NULL, {columns});
"""


@dataclass(frozen=True)
class Fingerprint:
    """By what a list is known again: ``sha256`` decides where the time of change does not agree."""

    size: int
    changed: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Read the whole file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, digest)

    def is_of(self, path: Path) -> bool:
        """Whether a file is still the one; reads it only where its time of change is another."""
        stat = path.stat()
        if stat.st_size != self.size:
            return False
        return stat.st_mtime_ns == self.changed or Fingerprint.of(path).sha256 == self.sha256


def import_lists(
    metadata: Path,
    images: Path,
    target: Path,
    settings: DownloadSettings,
    progress: Progress = silent,
) -> None:
    """Make the table ``target`` of both lists.

    Raises:
        DataError: a list is missing, or no image stands in both.
    """
    for path in (metadata, images):
        if not path.is_file():
            raise DataError(f"{path}: no such file", hint="JSON lines as in the contest")
    temporary, raw = target.with_name(target.name + ".tmp"), target.with_name("lists.tmp")
    for leftover in (temporary, raw):
        steps.remove(leftover)
    before = {"metadata": Fingerprint.of(metadata), "images": Fingerprint.of(images)}
    table = sqlite3.connect(temporary, isolation_level=None)
    made = False
    try:
        _bounded(table)
        table.execute("ATTACH ? AS raw", (os.fsencode(raw),))
        table.execute("PRAGMA raw.journal_mode=OFF")
        table.execute("PRAGMA raw.synchronous=OFF")
        table.execute("PRAGMA raw.cache_size=-16000")
        table.executescript(SCHEMA)
        table.execute("BEGIN")
        lines = {
            "metadata": _read(table, "metadata", metadata, progress),
            "images": _read(table, "images", images, progress),
        }
        counts = _join(table, progress)
        for name, path in (("metadata", metadata), ("images", images)):
            if path.stat().st_mtime_ns != before[name].changed:
                raise DataError(f"{path} was changed while it was read", hint="start again")
        _note(table, settings, lines, counts, before)
        table.execute("COMMIT")
        made = counts["both"] > 0
    finally:
        table.close()
        steps.remove(raw)
        if not made:
            steps.remove(temporary)
    if not made:
        raise DataError(
            f"no image stands in both lists: {metadata} has {lines['metadata']['good']} good lines,"
            f" {images} has {lines['images']['good']}",
            hint='expected {"image": 1, "queries": ["..."]} and {"image": 1, "url": "http://..."}',
        )
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    steps.replace(temporary, target)


def _bounded(table: sqlite3.Connection) -> None:
    """Little memory, whatever the length; no journal, since a cut-off import is thrown away."""
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16000", "temp_store=FILE"):
        table.execute(f"PRAGMA {pragma}")


def _read(table: sqlite3.Connection, name: str, path: Path, progress: Progress) -> dict[str, int]:
    """Every good line of a list into ``raw``; bad ones into ``bad``."""
    wide = name == "metadata"
    columns = "queries TEXT NOT NULL, texts INTEGER NOT NULL" if wide else "url TEXT NOT NULL"
    table.execute(_RAW.format(list=name, columns=columns))
    counts = {"lines": 0, "good": 0}
    bad: list[tuple[str, int, int]] = []

    def flush() -> None:
        table.executemany("INSERT INTO bad VALUES (?, ?, ?)", bad)
        bad.clear()

    def rows() -> Iterator[tuple[Any, ...]]:
        size = path.stat().st_size
        with path.open("rb") as file:
            for number, start, line in read_lines(file):
                counts["lines"] += 1
                if number % 50_000 == 0:
                    progress(name, start, size)
                try:
                    if wide:
                        record = parse_queries(line)
                        texts = json.dumps(record.queries, ensure_ascii=False)
                        yield number, record.id, texts, len(record.queries)
                    else:
                        yield (number, *parse_url(line))
                except BadLineError as error:
                    bad.append((name, number, error.code))
                    if len(bad) >= 2000:
                        flush()

    insert = f"INSERT INTO raw.{name} VALUES ({'?, ?, ?, ?' if wide else '?, ?, ?'})"
    stream = rows()
    while batch := _some(stream, 2000):
        table.executemany(insert, batch)
        counts["good"] += len(batch)
    flush()
    table.execute(f"CREATE INDEX raw.{name}_id ON {name} (id)")
    table.execute(
        f"INSERT INTO bad SELECT '{name}', line, {REPEATED} FROM raw.{name} AS late WHERE EXISTS"
        f" (SELECT 1 FROM raw.{name} AS early WHERE early.id = late.id AND early.line < late.line)"
    )
    gone = table.execute(
        f"DELETE FROM raw.{name} WHERE line IN"
        f" (SELECT line FROM bad WHERE list = '{name}' AND reason = {REPEATED})"
    ).rowcount
    counts["good"] -= gone
    return counts


def _some(rows: Iterator[tuple[Any, ...]], maximum: int) -> list[tuple[Any, ...]]:
    """The next rows, few enough in bytes too: a line may hold a megabyte."""
    found: list[tuple[Any, ...]] = []
    weight = 0
    for row in rows:
        found.append(row)
        weight += len(row[2])
        if len(found) >= maximum or weight > 4 * MAX_LINE:
            break
    return found


def _join(table: sqlite3.Connection, progress: Progress) -> dict[str, int]:
    progress("join", 0, 1)
    # CROSS JOIN keeps SQLite to this order of loops: the list's, with a look-up for each.
    both = table.execute(
        "INSERT INTO images (id, url, queries, texts)"
        " SELECT i.id, i.url, m.queries, m.texts"
        " FROM raw.images AS i CROSS JOIN raw.metadata AS m ON m.id = i.id ORDER BY i.line"
    ).rowcount
    progress("join", 1, 1)
    return {"both": both}


def _note(
    table: sqlite3.Connection,
    settings: DownloadSettings,
    lines: dict[str, dict[str, int]],
    counts: dict[str, int],
    prints: dict[str, Fingerprint],
) -> None:
    meta = {
        "version": VERSION,
        "settings": settings.shaping(),
        "lines": lines,
        "images": counts["both"],
        "texts": table.execute("SELECT coalesce(sum(texts), 0) FROM images").fetchone()[0],
        "lists": {name: vars(print_) for name, print_ in prints.items()},
    }
    table.executemany(
        "INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in meta.items()]
    )
