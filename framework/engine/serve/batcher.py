"""One micro-batcher for each tower: whatever waits is computed together, in a thread of its own.

Nothing is delayed to fill a batch: while one is computed, the next gathers by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.serve.faults import Fault

Item = TypeVar("Item")
Vector = NDArray[np.float32]


@dataclass
class _Waiting(Generic[Item]):
    item: Item
    done: asyncio.Future[Vector]
    until: float


class Batcher(Generic[Item]):
    """Computes items in batches.

    Args:
        compute: [N] items -> [N, J]; called in one thread.
        size: most items of a batch.
        measure: called with the items of each batch and its seconds.

    Attributes:
        thread: in which everything is computed; other work of the tower may use it too.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Vector],
        size: int,
        measure: Callable[[int, float], None] = lambda items, seconds: None,
    ) -> None:
        self._compute, self._size, self._measure = compute, size, measure
        self._queue: deque[_Waiting[Item]] = deque()
        self._more = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End; what still waits is refused."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._queue:
            if not waiting.done.done():
                waiting.done.set_exception(Fault(503, "the service is ending", "ending"))
        self.thread.shutdown(wait=True)

    async def compute(self, items: Sequence[Item], until: float) -> list[Vector]:
        """The vector of each item.

        Args:
            items: what is computed.
            until: the moment (``time.monotonic``) after which nobody waits for it any more.

        Raises:
            Fault: 503, it would have come too late.
            EngineError: the model cannot compute one of them.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(item, loop.create_future(), until) for item in items]
        self._queue.extend(waiting)
        self._more.set()
        try:
            return await asyncio.gather(*(each.done for each in waiting))
        finally:
            for each in waiting:
                each.done.cancel()  # does nothing to one that is done

    async def _work(self) -> None:
        while True:
            await self._more.wait()
            batch = self._next()
            if not batch:
                self._more.clear()
                continue
            await self._run(batch)

    def _next(self) -> list[_Waiting[Item]]:
        """The next items that somebody still waits for."""
        batch: list[_Waiting[Item]] = []
        now = time.monotonic()
        while self._queue and len(batch) < self._size:
            waiting = self._queue.popleft()
            if waiting.done.done():
                continue
            if waiting.until < now:
                waiting.done.set_exception(Fault(503, "the deadline passed while it waited",
                                                 "deadline", retry=1))  # fmt: skip
                continue
            batch.append(waiting)
        return batch

    async def _run(self, batch: list[_Waiting[Item]]) -> None:
        loop, started = asyncio.get_running_loop(), time.monotonic()
        try:
            rows = await loop.run_in_executor(
                self.thread, self._compute, [each.item for each in batch]
            )
        except Exception as error:
            if len(batch) > 1:  # one bad item must not fail its neighbours
                for each in batch:
                    await self._run([each])
            elif not batch[0].done.done():
                batch[0].done.set_exception(error)
            return
        self._measure(len(batch), time.monotonic() - started)
        for each, row in zip(batch, rows, strict=True):
            if not each.done.done():
                each.done.set_result(row)
