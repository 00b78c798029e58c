"""Pictures are decoded by processes of their own: beside the model, and out of reach of its memory.

Nothing here imports torch, so that such a process is small and starts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from PIL import Image

from engine.contracts.preprocess import Pixels, to_pixels
from engine.data.pictures import decode, formats
from engine.errors import BrokenImageError
from engine.serve.faults import Fault

_TASKS = 20_000
_MEMORY = 4 << 30
_state: dict[str, Any] = {}


def prepare(preprocess: Any, max_pixels: int) -> None:
    """What a new process does first."""
    _state["preprocess"], _state["max_pixels"] = preprocess, max_pixels
    for number in (signal.SIGINT, signal.SIGTERM):  # the service ends them, in order
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def pixels_of(data: bytes) -> Pixels | str:
    """A picture's file as the square of the model, or why it cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            width, height = image.size
        if width * height > _state["max_pixels"]:
            limit = _state["max_pixels"]
            return f"{width} x {height} pixels are too many (over {limit:,})"
    except Exception:  # the reader below says it better
        pass
    try:
        return to_pixels(decode(data).image, _state["preprocess"])
    except BrokenImageError as error:
        return error.reason
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def ready() -> bool:
    """Whether a process is there."""
    return True


class Decoders:
    """Processes that decode; one that dies is replaced.

    Args:
        preprocess: the vision tower's.
        max_pixels: a picture of more is refused before it is decoded.
        count: processes.
    """

    def __init__(self, preprocess: Any, max_pixels: int, count: int) -> None:
        self._arguments, self._count = (preprocess, max_pixels), count
        self._pool = self._make()

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=prepare,
            initargs=self._arguments,
            max_tasks_per_child=_TASKS,
        )

    async def start(self) -> None:
        """Wait until a process is there."""
        await asyncio.get_running_loop().run_in_executor(self._pool, ready)

    async def pixels(self, data: bytes) -> Pixels:
        """A picture's file as the square of the model.

        Raises:
            Fault: 400, it cannot be read; says why.
        """
        pool, loop = self._pool, asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(pool, pixels_of, data)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._make()
                pool.shutdown(wait=False)
            try:  # it may have been another request's picture
                found = await loop.run_in_executor(self._pool, pixels_of, data)
            except BrokenProcessPool:
                found = "decoding it takes too much memory or time"
        if isinstance(found, str):
            raise Fault(400, f"the picture cannot be read: {found}", "bad_image")
        return found

    def stop(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
