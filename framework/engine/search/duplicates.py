"""Groups of pictures that are nearly the same: copies, other sizes, small changes.

Every vector is compared with those before it, a block at a time; the pairs that are near are kept
in the index as they are found. So a run that was stopped goes on where it was, and a later run
compares only what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.core.files import explained, locked
from engine.core.progress import Progress, silent
from engine.errors import DataError
from engine.search.building import LOCK
from engine.search.catalogue import Catalogue, CatalogueEntry
from engine.search.nearest import Ids, Rows

_BLOCK = 2_000
LOWEST = 0.9
"""No lower cosine can be asked for: unlike pictures of one subject come near it."""


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that are nearly the same.

    Attributes:
        entries: the pictures, at least two; the largest file first.
        lowest: the smallest cosine of a pair that holds the group together; 1 for equal bytes.
    """

    entries: tuple[CatalogueEntry, ...]
    lowest: float


def find_duplicates(
    folder: Path,
    cosine: float = 0.97,
    progress: Progress = silent,
) -> list[DuplicateGroup]:
    """The groups of an index, the largest first.

    Two pictures are in a group where a chain of pairs leads from one to the other, each pair of at
    least this cosine.

    Args:
        folder: of the index.
        cosine: from which on two pictures are nearly the same; at least :data:`LOWEST`.
        progress: receives how many pictures are compared.

    Raises:
        DataError: no index, a cosine out of range, or another process is writing the index.
    """
    if not LOWEST <= cosine <= 1:
        raise DataError(f"a cosine of {cosine} is out of range: from {LOWEST} to 1")
    Catalogue(folder).close()  # tells that there is none before a lock is made
    with explained(folder), locked(folder / LOCK, f"{folder} is being written by another process",
                                   wait=2.0):  # fmt: skip
        catalogue = Catalogue(folder, writable=True)
        try:
            _compare(catalogue, cosine, progress)
            return list(_groups(catalogue, cosine))
        finally:
            catalogue.close()


def _compare(catalogue: Catalogue, cosine: float, progress: Progress) -> None:
    """Bring the table of near pairs up to date."""
    width = int(catalogue.about("width") or 0)
    kept = catalogue.about("pairs")
    floor, done = (float(kept.split()[0]), int(kept.split()[1])) if kept else (2.0, 0)
    if cosine < floor:  # pairs between the two were not kept
        floor, done = cosine, 0
        catalogue.change([("DELETE FROM pairs", ()), _progress_of(floor, 0)])
    (count,) = catalogue.rows("SELECT count(*) FROM vectors WHERE id <= ?", (done,))[0]
    total = catalogue.count()[0]
    for ids, rows in catalogue.vectors_after(done, width, _BLOCK):
        pairs = _pairs(catalogue, ids, rows, width, floor)
        changes = [("INSERT OR REPLACE INTO pairs VALUES(?, ?, ?)", pair) for pair in pairs]
        catalogue.change([*changes, _progress_of(floor, int(ids[-1]))])
        count += len(ids)
        progress("pictures", count, total)


def _progress_of(floor: float, done: int) -> tuple[str, tuple[str, str]]:
    return "INSERT OR REPLACE INTO about VALUES(?, ?)", ("pairs", f"{floor!r} {done}")


def _pairs(
    catalogue: Catalogue, ids: Ids, rows: Rows, width: int, floor: float
) -> Iterator[tuple[int, int, float]]:
    """The near pairs of a block with itself and everything before it."""
    for others, block in catalogue.vectors_after(0, width):
        cosines = rows @ block.T
        mine, theirs = np.nonzero(cosines >= floor)
        for i, k in zip(mine.tolist(), theirs.tolist(), strict=True):
            if others[k] < ids[i]:
                yield int(others[k]), int(ids[i]), float(min(cosines[i, k], 1.0))
        if others[-1] >= ids[-1]:
            return


def _groups(catalogue: Catalogue, cosine: float) -> Iterator[DuplicateGroup]:
    """The connected parts of the graph of near pairs."""
    parent: dict[int, int] = {}

    def root(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    lowest: dict[int, float] = {}
    sql = (
        "SELECT first, second, cosine FROM pairs WHERE cosine >= ?"
        " AND first IN (SELECT id FROM vectors) AND second IN (SELECT id FROM vectors)"
    )
    for first, second, value in catalogue.rows(sql, (cosine,)):
        one, other = root(first), root(second)
        low = min(value, lowest.get(one, 1.0), lowest.get(other, 1.0))
        parent[other] = one
        lowest[one] = low
    copies = (
        "SELECT vector FROM pictures WHERE vector IS NOT NULL GROUP BY vector HAVING count(*) > 1"
    )
    members: dict[int, list[int]] = defaultdict(list)
    for number in {*parent, *(row[0] for row in catalogue.rows(copies))}:
        members[root(number)].append(number)
    found = []
    for top, numbers in members.items():
        entries = [e for es in catalogue.entries_of(numbers).values() for e in es]
        if len(entries) > 1:
            entries.sort(key=lambda entry: (-entry.size, entry.path, entry.member))
            found.append(DuplicateGroup(tuple(entries), lowest.get(top, 1.0)))
    yield from sorted(found, key=lambda group: (-len(group.entries), group.entries[0].path))
