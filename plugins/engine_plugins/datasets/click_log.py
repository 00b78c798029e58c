"""The contest's training data: JSON lines of images with queries.

Made for millions of rows: a row costs 8 bytes of memory (where its line starts; 16 more while the
file is read first, and 16 where the images lie in tar shards), and a line is parsed again when its
row is asked for.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from engine.contracts import Dataset, Record
from engine.data.click_log import (
    MAX_LINE,
    REASONS,
    REPEATED,
    BadLineError,
    parse_queries,
    read_lines,
)
from engine.data.pictures import open_image
from engine.errors import DataError
from engine_plugins.datasets.click_log_shards import Shards
from engine_plugins.datasets.settings import ClickLogSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadLine:
    """A line of the metadata that was left out.

    Attributes:
        number: of the line, from 1.
        reason: what is wrong with it.
    """

    number: int
    reason: str


class BadLines(Sequence[BadLine]):
    """Every bad line in order, 9 bytes each: a hostile file may have millions."""

    def __init__(self, numbers: Sequence[int] = (), reasons: Sequence[int] = ()) -> None:
        order = sorted(range(len(numbers)), key=lambda i: numbers[i])
        self._numbers = array("Q", (numbers[i] for i in order))
        self._reasons = array("B", (reasons[i] for i in order))

    def __len__(self) -> int:
        return len(self._numbers)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Numbers of lines and codes of reasons."""
        return {
            "bad_numbers": np.asarray(self._numbers, dtype=np.uint64),
            "bad_reasons": np.asarray(self._reasons, dtype=np.uint8),
        }

    @overload
    def __getitem__(self, index: int) -> BadLine: ...
    @overload
    def __getitem__(self, index: slice) -> list[BadLine]: ...
    def __getitem__(self, index: int | slice) -> BadLine | list[BadLine]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return BadLine(self._numbers[index], REASONS[self._reasons[index]])


class _Lines:
    """The lines of a file by their first byte: read ahead, from several threads, after a fork.

    A file is opened once a process, and read in pieces, so that rows in order cost few reads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()

    def _open(self) -> None:
        self._process, self._local = os.getpid(), threading.local()

    def __getstate__(self) -> Path:
        return self._path

    def __setstate__(self, path: Path) -> None:
        self.__init__(path)  # type: ignore[misc]

    def at(self, start: int) -> bytes:
        """The line that begins at a byte, its end included, at most ``MAX_LINE + 1`` bytes."""
        if self._process != os.getpid():
            self._open()
        file: IO[bytes] | None = getattr(self._local, "file", None)
        if file is None:
            file = self._local.file = self._path.open("rb", buffering=_PIECE)
        file.seek(start)  # within what was read ahead, this reads nothing
        return file.readline(MAX_LINE + 1)


_PIECE = 1 << 15


class ClickLog(Dataset):
    """Images with the queries that led people to them.

    Attributes:
        bad_lines: the lines that were left out, with their numbers and reasons.

    Raises:
        DataError: folder, metadata or images are missing, or no line is good.
    """

    def __init__(
        self, settings: ClickLogSettings, index: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        self.settings = settings
        self.name = settings.path.absolute().name
        self._metadata = settings.path / settings.metadata
        self._images = settings.path / settings.images
        folder = settings.path / settings.shards
        packed = not self._images.is_dir() and folder.is_dir()
        for path, there in (
            (settings.path, settings.path.is_dir()),
            (self._metadata, self._metadata.is_file()),
            (self._images, self._images.is_dir() or packed),
        ):
            if not there:
                raise DataError(
                    f"click log: {path} is missing",
                    hint=f"`path` needs {settings.metadata} and a folder {settings.images}/ of"
                    f" <id>{settings.suffix}, or {settings.shards}/ of tar shards"
                    " (settings `metadata`, `images`, `suffix`, `shards`)",
                )
        self._file: _Lines = _Lines(self._metadata)
        if index is None:
            self._starts, self.bad_lines = _index(self._metadata)
        else:
            self._starts = index["starts"]
            self.bad_lines = BadLines(index["bad_numbers"].tolist(), index["bad_reasons"].tolist())
        if not len(self._starts):
            first = self.bad_lines[0] if self.bad_lines else None
            raise DataError(
                f"{self._metadata} has no good line"
                + (f": line {first.number} is {first.reason}" if first else ": it is empty"),
                hint='expected JSON lines such as {"image": 1, "queries": ["...", "..."]}',
            )
        if self.bad_lines and index is None:
            worst = "; ".join(f"line {b.number}: {b.reason}" for b in self.bad_lines[:3])
            _log.warning(
                "%s: %d of %d lines left out (%s%s)",
                self._metadata, len(self.bad_lines), len(self.bad_lines) + len(self._starts),
                worst, "; ..." if len(self.bad_lines) > 3 else "",
            )  # fmt: skip
        self._shards: Shards | None = None
        if packed:
            self._shards = (
                Shards(folder, self._ids()) if index is None else Shards.of(folder, index)
            )

    @classmethod
    def fingerprint(cls, settings: ClickLogSettings) -> str | None:
        """See the contract: the bytes of the metadata, and the tables of the shards."""
        metadata, folder = settings.path / settings.metadata, settings.path / settings.shards
        digest = hashlib.sha256()
        try:
            with metadata.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DataError(f"click log: {metadata} cannot be read: {error.strerror}") from error
        if not (settings.path / settings.images).is_dir() and folder.is_dir():
            for table in sorted(folder.glob("*.parquet")):
                about = table.stat()
                digest.update(f"{table.name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def index(self) -> Mapping[str, NDArray[Any]]:
        """See the contract: where lines begin, and where images lie in shards."""
        shards = {} if self._shards is None else self._shards.arrays()
        return {"starts": self._starts, **self.bad_lines.arrays(), **shards}

    @classmethod
    def from_index(cls, settings: ClickLogSettings, index: Mapping[str, NDArray[Any]]) -> ClickLog:
        """See the contract."""
        return cls(settings, index)

    def __len__(self) -> int:
        return len(self._starts)

    def record(self, index: int) -> Record:
        """The row at an index: its id, texts and class."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._parse(self._file.at(int(self._starts[index])))

    def texts(self) -> Iterator[str]:
        """Every text of the data, row by row."""
        for index in range(len(self)):
            yield from self.record(index).queries

    def _ids(self) -> Iterator[str]:
        for index in range(len(self)):
            yield self.record(index).id

    def image(self, index: int) -> Image:
        """The picture of a row."""
        if self._shards is not None:
            return self._shards.image(index, self.record(index).id)
        return open_image(self._images / f"{self.record(index).id}{self.settings.suffix}")

    def _parse(self, line: bytes) -> Record:
        try:
            return parse_queries(line)
        except BadLineError as error:
            raise DataError(f"{self._metadata} was changed while it was in use ({error})") from None


def _index(path: Path) -> tuple[NDArray[np.uint64], BadLines]:
    """Where the good lines start, and the bad lines."""
    starts, hashes, numbers = array("Q"), array("Q"), array("Q")
    bad_numbers, bad_reasons = array("Q"), array("B")
    with path.open("rb") as file:
        for number, start, line in read_lines(file):
            try:
                record = parse_queries(line)
            except BadLineError as error:
                bad_numbers.append(number)
                bad_reasons.append(error.code)
                continue
            digest = hashlib.blake2b(record.id.encode(), digest_size=8).digest()
            starts.append(start)
            hashes.append(int.from_bytes(digest, "little"))
            numbers.append(number)
        place = np.frombuffer(starts, dtype=np.uint64)
        keep = np.ones(len(starts), dtype=bool)
        for row in _repeated(file, place, np.frombuffer(hashes, dtype=np.uint64)):
            keep[row] = False
            bad_numbers.append(numbers[row])
            bad_reasons.append(REPEATED)
    return place[keep], BadLines(bad_numbers, bad_reasons)


def _repeated(
    file: IO[bytes], starts: NDArray[np.uint64], hashes: NDArray[np.uint64]
) -> Iterator[int]:
    """Rows whose id an earlier row has. Rows of one hash are compared by their real ids."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = ordered[1:] == ordered[:-1]
    seen: set[str] = set()
    for here in np.flatnonzero(np.append(same, False) | np.append(False, same)):
        if here == 0 or ordered[here] != ordered[here - 1]:
            seen = set()
        row = int(order[here])
        file.seek(int(starts[row]))
        name = parse_queries(file.readline(MAX_LINE + 1)).id
        if name in seen:
            yield row
        seen.add(name)
