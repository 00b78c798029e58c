"""The table of queries, read in batches: bad lines and repeated images counted and left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.contracts.dataset import Record
from engine.core.progress import Progress, silent
from engine.data.click_log import (
    MAX_LINE,
    REASONS,
    REPEATED,
    BadLineError,
    parse_queries,
    read_lines,
)
from engine.data.text.parallel import ordered
from engine.data.text.spill import Spill, runs
from engine.errors import DataError

METADATA = "metadata.json"
BATCH = 1 << 20
"""Bytes of lines that travel to a worker at once (a line may be as long as this itself)."""

LISTED = 1000
"""Bad lines named one by one; all are counted."""

_FORMAT = 'expected JSON lines such as {"image": 1, "queries": ["...", "..."]}'
_ID = np.dtype([("hash", "u8"), ("start", "u8"), ("number", "u8")])


@dataclass(frozen=True)
class TextBatch:
    """Some lines of the table.

    Attributes:
        starts: where each line starts in the file, in bytes.
        numbers: of each line, from 1.
        lines: the lines.
    """

    starts: list[int]
    numbers: list[int]
    lines: list[bytes]

    def records(self) -> Iterator[tuple[int, Record]]:
        """Start and row of every good line."""
        for start, line in zip(self.starts, self.lines, strict=True):
            try:
                yield start, parse_queries(line)
            except BadLineError:
                continue


@dataclass
class TextTable:
    """A file of queries that was read once from end to end.

    Attributes:
        path: the file.
        size: its bytes.
        images: rows that count.
        bad: number of bad lines by reason.
        listed: line number and reason of the first ``LISTED`` bad lines.
        repeated: line numbers of rows whose image an earlier row has, ascending.
    """

    path: Path
    size: int
    images: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    listed: list[tuple[int, str]] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    stamp: tuple[int, int] = (0, 0)

    def batches(self, progress: Progress = silent, what: str = "reading") -> Iterator[TextBatch]:
        """Every line but those of repeated images; bad lines are among them.

        Raises:
            DataError: the file was changed since it was read first.
        """
        skip = iter([*self.repeated, 0])
        skipped = next(skip)
        with self.path.open("rb") as file:
            for batch in _batches(file):
                if skipped and skipped <= batch.numbers[-1]:
                    keep = []
                    for i, number in enumerate(batch.numbers):
                        if number == skipped:
                            skipped = next(skip)
                        else:
                            keep.append(i)
                    batch = TextBatch(
                        [batch.starts[i] for i in keep],
                        [batch.numbers[i] for i in keep],
                        [batch.lines[i] for i in keep],
                    )
                if batch.lines:
                    yield batch
                    progress(what, min(batch.starts[-1], self.size), self.size)
        if _stamp(self.path) != self.stamp:
            raise DataError(f"{self.path} was changed while it was read", hint="start again")

    def bad_json(self) -> dict[str, Any]:
        """What was left out, for a report."""
        return {
            "count": sum(self.bad.values()),
            "by_reason": dict(sorted(self.bad.items(), key=lambda pair: (-pair[1], pair[0]))),
            "lines": [{"line": number, "reason": reason} for number, reason in self.listed],
        }


def find_table(path: Path) -> Path:
    """The file of queries: ``path`` itself, or ``metadata.json`` in the folder ``path``.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return path
    if (path / METADATA).is_file():
        return path / METADATA
    if not path.exists():
        raise DataError(f"{path}: no such folder or file")
    inside = sorted(p.parent for p in path.glob(f"*/{METADATA}")) if path.is_dir() else []
    raise DataError(
        f"{path} holds no {METADATA}",
        hint=f"{inside[0]} has one: name that folder"
        if inside
        else f"name a folder that `engine data download` or `engine data make` wrote, or a"
        f" {METADATA} itself",
    )


def open_table(
    path: Path, folder: Path, workers: int = 1, progress: Progress = silent
) -> TextTable:
    """Read the whole file once: which lines are bad, which images stand in it before.

    Args:
        path: a folder or a file, as :func:`find_table` takes it.
        folder: for temporary files.
        workers: processes.
        progress: shows how far it is.

    Raises:
        DataError: there is no such file, or not one good line in it.
    """
    path = find_table(path)
    table = TextTable(path, path.stat().st_size, stamp=_stamp(path))
    spill = Spill(folder / "ids", _ID)
    for rows, bad in ordered(_Ids, None, table.batches(progress, "checking lines"), workers):
        spill.add(rows)
        for number, code in bad:
            table.bad[REASONS[code]] += 1
            if len(table.listed) < LISTED:
                table.listed.append((number, REASONS[code]))
    table.repeated = _repeated(path, spill)
    table.images = spill.rows - len(table.repeated)
    spill.close()
    if table.repeated:
        table.bad[REASONS[REPEATED]] = len(table.repeated)
        again = [(number, REASONS[REPEATED]) for number in table.repeated[:LISTED]]
        table.listed = sorted(table.listed + again)[:LISTED]
    if not table.images:
        first = f": line {table.listed[0][0]}: {table.listed[0][1]}" if table.listed else ""
        raise DataError(f"{path} has no good line{first or ': it is empty'}", hint=_FORMAT)
    return table


def read_records(path: Path, starts: list[int]) -> Iterator[Record]:
    """The rows whose lines start there."""
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            yield parse_queries(file.readline(MAX_LINE + 1))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _batches(file: IO[bytes]) -> Iterator[TextBatch]:
    batch, size = TextBatch([], [], []), 0
    for number, start, line in read_lines(file):
        batch.starts.append(start)
        batch.numbers.append(number)
        batch.lines.append(line)
        size += len(line)
        if size >= BATCH:
            yield batch
            batch, size = TextBatch([], [], []), 0
    if batch.lines:
        yield batch


class _Ids:
    """In a worker: the ids of a batch as rows of ``_ID``, and the bad lines."""

    def __init__(self, _: None) -> None:
        pass

    def __call__(self, batch: TextBatch) -> tuple[Any, list[tuple[int, int]]]:
        rows, bad = [], []
        for start, number, line in zip(batch.starts, batch.numbers, batch.lines, strict=True):
            try:
                name = parse_queries(line).id
            except BadLineError as error:
                bad.append((number, error.code))
                continue
            digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
            rows.append((int.from_bytes(digest, "little"), start, number))
        return np.array(rows, dtype=_ID), bad


def _repeated(path: Path, spill: Spill) -> list[int]:
    """Lines whose id an earlier line has. Lines of one hash are compared by their real ids."""
    found: list[int] = []
    for rows in spill.parts():
        starts = runs(rows["hash"])
        ends = np.append(starts[1:], len(rows))
        several = ends - starts > 1
        for start, end in zip(starts[several], ends[several], strict=True):
            seen: set[str] = set()
            places = [int(place) for place in rows["start"][start:end]]
            for row, record in zip(rows[start:end], read_records(path, places), strict=True):
                if record.id in seen:
                    found.append(int(row["number"]))
                seen.add(record.id)
    return sorted(found)
