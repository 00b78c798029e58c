"""Which pictures a search may find: by folder and by time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError
from engine.search.catalogue import Catalogue, CatalogueEntry


@dataclass(frozen=True)
class Filter:
    """Pictures in a folder and of a time.

    Attributes:
        folder: only pictures in it or below it (or in this tar); ``None``: anywhere.
        after: taken at this time or later, seconds since 1970.
        before: taken earlier than this.
    """

    folder: Path | None = None
    after: float | None = None
    before: float | None = None

    def vectors(self, catalogue: Catalogue) -> NDArray[np.int64]:
        """The numbers of the vectors of these pictures."""
        where, values = ["vector IS NOT NULL"], []
        if self.folder is not None:
            path = os.fsencode(os.path.abspath(self.folder))  # noqa: PTH100 (links stay)
            inside = path.rstrip(b"/") + b"/"
            # A path that begins with `inside` is smaller than `inside` with its last byte raised.
            where.append("(path = ? OR (path >= ? AND path < ?))")
            values += [path, inside, inside[:-1] + b"0"]
        if self.after is not None:
            where.append("taken >= ?")
            values.append(self.after)  # type: ignore[arg-type]
        if self.before is not None:
            where.append("taken < ?")
            values.append(self.before)  # type: ignore[arg-type]
        sql = f"SELECT DISTINCT vector FROM pictures WHERE {' AND '.join(where)}"
        return np.array([row[0] for row in catalogue.rows(sql, values)], np.int64)

    def accepts(self, entry: CatalogueEntry) -> bool:
        """Whether one picture is among them."""
        if self.folder is not None and not entry.path.is_relative_to(
            os.path.abspath(self.folder)  # noqa: PTH100 (links stay)
        ):
            return False
        early = self.after is not None and entry.taken < self.after
        late = self.before is not None and entry.taken >= self.before
        return not early and not late


def make_filter(folder: Path | None, after: str | None, before: str | None) -> Filter | None:
    """A filter of what a user writes; ``None`` where nothing is asked for.

    Args:
        folder: see :class:`Filter`.
        after: a day or a time by ISO 8601, local time: pictures of then or later.
        before: the same: pictures of earlier; of a day, that day is not among them.

    Raises:
        DataError: not a day or a time.
    """
    if folder is None and after is None and before is None:
        return None
    return Filter(folder, _seconds(after, "after"), _seconds(before, "before"))


def _seconds(text: str | None, name: str) -> float | None:
    if text is None:
        return None
    try:
        if len(text) == 4 and text.isdigit():
            return datetime(int(text), 1, 1).timestamp()
        found = datetime.fromisoformat(text)
        try:
            return found.timestamp()
        except (ValueError, OverflowError, OSError):  # a year that the system's clock does not have
            return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise DataError(f"{name}: `{text}` is not a day or a time",
                        hint="write 2024-05-31, 2024-05-31T18:00 or 2024") from error  # fmt: skip
