"""Pictures of the training data as pixels: read ahead, read once where there is room."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np

from engine.cache.budget import Budget
from engine.contracts.preprocess import Pixels
from engine.contracts.training import Rows
from engine.data.readers import Found, make_readers
from engine.data.views import ViewReader
from engine.evaluate.images import available_cores


class PixelFile:
    """Pictures in an unnamed file: they are gone with the process, so they are never stale.

    Args:
        budget: what it may take.
        count: pictures there may be.
        side: of a picture, in pixels.
    """

    def __init__(self, budget: Budget, count: int, side: int) -> None:
        self._budget, self._shape = budget, (side, side, 3)
        self._size = side * side * 3
        self._slots = np.full(count, -1, dtype=np.int64)
        self._next, self._full = 0, False
        self._file: IO[bytes] | None = None
        try:
            self._file = tempfile.TemporaryFile(dir=budget.folder)  # noqa: SIM115 - kept open
        except OSError:  # a full disk, a read-only folder
            self._full = True

    def __contains__(self, number: int) -> bool:
        return bool(self._slots[number] >= 0)

    def read(self, number: int) -> Pixels | None:
        """A picture, [side, side, 3] uint8, or ``None``."""
        slot = self._slots[number]
        if slot < 0 or self._file is None:
            return None
        data = os.pread(self._file.fileno(), self._size, int(slot) * self._size)
        return np.frombuffer(data, np.uint8).reshape(self._shape)

    def write(self, number: int, pixels: Pixels) -> None:
        """Keep a picture where there is room; a full disk is not an error."""
        if self._full or self._file is None or self._slots[number] >= 0:
            return
        self._full = not self._budget.take(self._size)
        if self._full:
            return
        try:
            written = os.pwrite(self._file.fileno(), pixels.tobytes(), self._next * self._size)
        except OSError:
            written = 0
        if written == self._size:
            self._slots[number] = self._next
            self._next += 1
        else:
            self._full = True
            self._budget.give_back(self._size)

    def close(self) -> None:
        """Free the disk."""
        if self._file is not None:
            self._file.close()
        self._budget.give_back(self._next * self._size)


class PixelReader:
    """The pixels of views of pictures, by number: ``row * views + view``.

    Args:
        reader: of the views.
        rows: [N] the data set's index of each usable row.
        workers: threads or processes; ``None``: one a core, at most 8.
        kind: ``threads`` or ``processes``.
        file: keeps what was read; ``None``: nothing is kept.
    """

    def __init__(
        self,
        reader: ViewReader,
        rows: Rows,
        workers: int | None,
        file: PixelFile | None = None,
        *,
        kind: str = "threads",
    ) -> None:
        self._dataset, self._rows, self._file = reader.dataset, rows, file
        self.views = 1 if reader.augment is None else reader.augment.views
        self._readers = make_readers(kind, reader, workers or min(8, available_cores()))
        self._ahead: dict[int, Found] = {}
        self.broken: dict[str, str] = {}

    def ahead(self, numbers: Sequence[int]) -> None:
        """Begin to read what will be asked for soon."""
        for number in numbers:
            if number not in self._ahead and (self._file is None or number not in self._file):
                index = int(self._rows[number // self.views])
                self._ahead[number] = self._readers.submit(index, number % self.views)

    def take(self, numbers: Sequence[int]) -> list[Pixels | None]:
        """The pixels of each, [S, S, 3] uint8; ``None`` where the picture is broken."""
        self.ahead(numbers)
        found = {n: self._taken(n) for n in dict.fromkeys(numbers)}
        return [found[number] for number in numbers]

    def _taken(self, number: int) -> Pixels | None:
        future = self._ahead.pop(number, None)
        if future is None:
            assert self._file is not None
            return self._file.read(number)
        found = future.result()
        if isinstance(found, str):
            index = int(self._rows[number // self.views])
            self.broken[self._dataset.record(index).id] = found
            return None
        return found

    def drop(self, numbers: Sequence[int]) -> None:
        """Forget what was read ahead and is not needed any more."""
        for number in numbers:
            future = self._ahead.pop(number, None)
            if future is not None:
                future.cancel()

    def keep(self, numbers: Sequence[int], pixels: Sequence[Pixels]) -> None:
        """Keep pictures for the next time, in the main thread."""
        if self._file is not None:
            for number, each in zip(numbers, pixels, strict=True):
                self._file.write(number, each)

    def close(self) -> None:
        """Stop reading."""
        self._readers.close()
        if self._file is not None:
            self._file.close()
