"""Parts of large files, wherever they lie: read in blocks, each once while it is needed.

Local files are read as they are: the system keeps their pages. Of files in an object store blocks
of some megabytes are kept, the last used ones; threads that want the same block wait for one
another, so it is fetched once.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from engine.data.store_folder import StoreFolder

BLOCK = 4 << 20
"""Bytes of a block: large enough that a request's latency does not count."""
BUDGET = 512 << 20
"""Bytes of blocks that are kept in a process."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentBlocks(Generic[K, V]):
    """What was loaded last, up to a budget. For threads; a copy in another process begins empty.

    Args:
        load: gives the value of a key.
        size: bytes of a value.
        budget: bytes that all values may have together; one is kept in any case.
    """

    def __init__(self, load: Callable[[K], V], size: Callable[[V], int], budget: int) -> None:
        self._load, self._size, self._budget = load, size, budget
        self._begin()

    def _begin(self) -> None:
        self._lock, self._process = threading.Lock(), os.getpid()
        self._values: OrderedDict[K, Future[V]] = OrderedDict()
        self._sizes: dict[K, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_load", "_size", "_budget")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def get(self, key: K) -> V:
        """The value of a key, loaded where it is not kept. What loading raises, all get."""
        if self._process != os.getpid():  # after a fork: nobody may ever release the lock
            self._begin()
        with self._lock:
            found = self._values.get(key)
            own = found is None
            if found is None:
                found = self._values[key] = Future()
            self._values.move_to_end(key)
        if own:
            self._fill(key, found)
        return found.result()

    def _fill(self, key: K, future: Future[V]) -> None:
        try:
            value = self._load(key)
        except BaseException as error:
            with self._lock:
                self._values.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            self._sizes[key] = self._size(value)
            while len(self._sizes) > 1 and sum(self._sizes.values()) > self._budget:
                oldest = next(each for each in self._values if each in self._sizes)
                if oldest == key:
                    break
                del self._values[oldest], self._sizes[oldest]
        future.set_result(value)


class Blocks:
    """Parts of the files of a folder.

    Args:
        folder: where they lie.
        block: bytes that are fetched at once from a store.
        budget: bytes that are kept.
    """

    def __init__(self, folder: StoreFolder, block: int = BLOCK, budget: int = BUDGET) -> None:
        self.folder, self._block = folder, block
        self._recent: RecentBlocks[tuple[str, int], bytes] = RecentBlocks(self._fetch, len, budget)

    def _fetch(self, place: tuple[str, int]) -> bytes:
        name, number = place
        return self.folder.read_range(name, number * self._block, self._block)

    def read(self, name: str, start: int, size: int) -> bytes:
        """Bytes of a file; fewer where it ends before.

        Raises:
            DataError: it cannot be read.
        """
        if size <= 0:
            return b""
        if self.folder.local is not None:
            return self.folder.read_range(name, start, size)
        first, last = start // self._block, (start + size - 1) // self._block
        found = b"".join(self._recent.get((name, number)) for number in range(first, last + 1))
        begin = start - first * self._block
        return found[begin : begin + size]


class BlockFile(io.RawIOBase):
    """A file of a store, for readers that seek.

    Args:
        blocks: of its folder.
        name: of the file.
        size: in bytes.
    """

    def __init__(self, blocks: Blocks, name: str, size: int) -> None:
        super().__init__()
        self._blocks, self._name, self._size, self._at = blocks, name, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The place."""
        return self._at

    def seek(self, offset: int, origin: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[origin]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read from the place on."""
        wanted = min(len(buffer), self._size - self._at)
        data = self._blocks.read(self._name, self._at, wanted) if wanted > 0 else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
