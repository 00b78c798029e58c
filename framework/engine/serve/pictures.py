"""The index of a service: searched by a thread, its pictures shown as small copies."""

from __future__ import annotations

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from engine.data.pictures import decode
from engine.errors import BrokenImageError
from engine.search.filters import Filter
from engine.search.index import Hit, SearchIndex, read_picture_of
from engine.serve.faults import Fault

SIDE = 512
_FRESH = 2.0
"""Seconds between two looks at what was written to the index."""


class Shelf:
    """An index behind a thread of its own.

    Args:
        index: open.
    """

    def __init__(self, index: SearchIndex) -> None:
        self.index = index
        self._thread = ThreadPoolExecutor(2, thread_name_prefix="search")
        self._looked = 0.0

    async def search(self, query: NDArray[np.float32], top: int, only: Filter | None) -> list[Hit]:
        """See :meth:`Index.search`; what was written a moment ago is found too."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._search, query, top, only)

    def _search(self, query: NDArray[np.float32], top: int, only: Filter | None) -> list[Hit]:
        if time.monotonic() - self._looked > _FRESH:
            self._looked = time.monotonic()
            self.index.refresh()
        return self.index.search(query, top, only=only)

    async def small(self, number: int) -> bytes:
        """A JPEG of a picture, at most :data:`SIDE` pixels wide and high.

        Raises:
            Fault: 404, there is none, or its file is gone.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._small, number)

    def _small(self, number: int) -> bytes:
        for entry in self.index.entries_of([number])[number]:
            try:
                image = decode(read_picture_of(entry), at_least=SIDE).image
            except (BrokenImageError, OSError):
                continue
            image.thumbnail((SIDE, SIDE))
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=82)
            return buffer.getvalue()
        raise Fault(404, "there is no such picture", "not_found")

    def stop(self) -> None:
        """Let go of the index."""
        self._thread.shutdown(wait=True)
        self.index.close()
