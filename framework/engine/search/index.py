"""An index, open for searching."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.foreign import clean_name
from engine.errors import DataError
from engine.search.catalogue import Catalogue, CatalogueEntry
from engine.search.filters import Filter
from engine.search.identity import model_of
from engine.search.nearest import Inverted
from engine.search.partition import catch_up, open_index
from engine.search.sources import read_item

_MORE = 4
"""Candidates for each hit that an inverted file gives, to be compared exactly."""


@dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        score: cosine of its vector with the query's, -1..1.
        vector: the number of its vector.
        places: where it lies: one entry for each copy, by their paths.
    """

    score: float
    vector: int
    places: tuple[CatalogueEntry, ...]

    @property
    def path(self) -> Path:
        """Of the first copy: the file, or the tar that holds it."""
        return self.places[0].path

    @property
    def name(self) -> str:
        """The path (and the name within a tar) as text that UTF-8 can hold."""
        return name_of(self.places[0])

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        first, *copies = self.places
        return {
            "path": clean_name(str(first.path)),
            "member": first.member,
            "score": self.score,
            "bytes": first.size,
            "taken": first.taken,
            "copies": [name_of(each) for each in copies],
        }


def name_of(entry: CatalogueEntry) -> str:
    """The place of a picture as text that UTF-8 can hold."""
    inside = f" / {entry.member}" if entry.member else ""
    return clean_name(f"{entry.path}{inside}")


def read_picture_of(entry: CatalogueEntry) -> bytes:
    """The bytes of a picture of an index.

    Raises:
        OSError: it is gone, or cannot be read.
    """
    return read_item(entry.path, entry.start, entry.size, entry.member)


class SearchIndex:
    """The pictures of a folder that ``engine index`` wrote.

    Any number of processes may search while one writes; :meth:`refresh` takes over what was
    written since. Its methods may be called from several threads.

    Args:
        folder: of the index.

    Attributes:
        folder: of the index.
        width: of the vectors, ``embed_dim`` of the model.
        model_name: of the model that it was made with.

    Raises:
        DataError: there is no index, or it is damaged.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._catalogue = Catalogue(self.folder)
        width = self._catalogue.about("width")
        if not width:
            raise DataError(f"{self.folder} is an index without pictures: making it was stopped",
                            hint="give the same `engine index` again")  # fmt: skip
        self.width, self.model_name = int(width), self._catalogue.about("name")
        self._lock = threading.RLock()
        self._nearest, self._added, self._removed = open_index(
            self.folder, self._catalogue, self.width
        )

    def __len__(self) -> int:
        return len(self._nearest)

    @property
    def model(self) -> Path | None:
        """Where the model was loaded from; ``None`` where that is not known."""
        return model_of(self._catalogue)

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the pictures."""
        return self._catalogue

    @property
    def recall(self) -> float:
        """The share of the true ten nearest that a search finds, measured; 1 where it is exact."""
        return self._nearest.recall if isinstance(self._nearest, Inverted) else 1.0

    def refresh(self) -> bool:
        """Take over what was written since the index was opened; whether there was anything."""
        with self._lock:
            before = (self._added, self._removed)
            if self._catalogue.snapshot() == before:
                return False
            self._added, self._removed = catch_up(
                self._nearest, self._catalogue, self.width, before
            )
            return True

    def search(
        self, vector: NDArray[Any], top: int = 20, *, only: Filter | None = None
    ) -> list[Hit]:
        """The pictures whose vectors are nearest to one.

        Args:
            vector: [J] or [1, J], of any length but 0.
            top: how many; copies of one picture are one hit.
            only: which pictures may be found; ``None``: all.

        Raises:
            DataError: the vector has another width, or is not finite, or zero.
        """
        if top < 1:
            raise DataError(f"top={top}: at least one picture must be asked for")
        query = self._query(vector)
        with self._lock:
            ids, scores = self._candidates(query, top, only)
        order = np.lexsort((ids, -scores))[:top]
        places = self._catalogue.entries_of(ids[order].tolist())
        found = []
        for place in order:
            number = int(ids[place])
            entries = tuple(
                entry for entry in places[number] if only is None or only.accepts(entry)
            )
            if entries:  # else it was removed a moment ago
                found.append(Hit(float(scores[place]), number, entries))
        return found

    def vectors(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Every vector, in blocks: numbers [N] and rows [N, J]."""
        return self._catalogue.vectors_after(0, self.width)

    def broken(self) -> Iterator[CatalogueEntry]:
        """The pictures that could not be read."""
        return self._catalogue.broken()

    def entries_of(self, numbers: Sequence[int]) -> dict[int, list[CatalogueEntry]]:
        """The pictures of vectors."""
        return self._catalogue.entries_of(numbers)

    def close(self) -> None:
        """Let go of the files."""
        self._catalogue.close()

    def __enter__(self) -> SearchIndex:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({self.folder}, {len(self):,} pictures, model {self.model_name})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<code>{escape(repr(self))}</code>"

    def _query(self, vector: NDArray[Any]) -> NDArray[np.float32]:
        query = np.asarray(vector, np.float32).reshape(1, -1)
        length = float(np.linalg.norm(query))
        if query.shape[1] != self.width:
            raise DataError(f"a query has {query.shape[1]} numbers, and the index {self.width}")
        if not np.isfinite(length) or length == 0:
            raise DataError("the query's vector is zero, or not finite, so nothing is near it",
                            hint="texts with + and - may cancel each other out")  # fmt: skip
        return query / np.float32(length)

    def _candidates(
        self, query: NDArray[np.float32], top: int, only: Filter | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Vectors to be sorted, with exact cosines."""
        allowed = None if only is None else only.vectors(self._catalogue)
        if allowed is not None and not len(allowed):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        exact = not isinstance(self._nearest, Inverted)
        if not exact and allowed is not None and len(allowed) <= 20_000:
            ids, rows = self._catalogue.vectors(allowed.tolist(), self.width)
            return ids, (rows @ query[0]).astype(np.float32)
        count = min(top if exact else _MORE * top, len(self._nearest))
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores, found = self._nearest.search(query, count, allowed)
        ids, values = found[0][found[0] >= 0], scores[0][found[0] >= 0]
        if exact:
            return ids, values
        ids, rows = self._catalogue.vectors(ids.tolist(), self.width)
        return ids, (rows @ query[0]).astype(np.float32)
