"""One function over many batches in several processes: results in order, whatever the number."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import Any, TypeVar

from engine.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

SMALL = 8 << 20
"""Bytes below which starting processes takes longer than the work."""

_MAX_WORKERS = 8

_NOT_FOR_WORKERS = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}
"""What a terminal sends to all its processes. SIGTERM ends workers: the pool itself sends it."""


def workers_for(size: int, asked: int | None = None) -> int:
    """Number of processes for a file of ``size`` bytes: what was asked, or what pays."""
    if asked is not None:
        return asked
    return 1 if size < SMALL else min(_MAX_WORKERS, os.cpu_count() or 1)


def ordered(
    make: Callable[[Any], Callable[[Item], Result]],
    settings: Any,
    items: Iterable[Item],
    workers: int,
) -> Iterator[Result]:
    """``make(settings)`` once in each process, then what it gives called with each item.

    Args:
        make: a module's own function or class (it is pickled by name).
        settings: its argument, pickled.
        items: taken as they are needed: a few a worker are in memory at any time.
        workers: processes; with 1 all happens in this one.

    Raises:
        DataError: a worker was killed (no memory, say).
    """
    if workers <= 1:
        yield from map(make(settings), items)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start, (make, settings)
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            with _no_interrupt():  # what starts here must not die loudly of a Ctrl-C
                waiting.append(pool.submit(_call, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process ended before its work was done (killed, or out of memory)",
            hint="try fewer of them: --workers 1",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Signals wait until the end; processes started meanwhile never see them: they inherit this."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Callable[[Any], Any] | None = None


def _start(make: Callable[[Any], Callable[[Any], Any]], settings: Any) -> None:
    """In a worker. Ctrl-C is the parent's to handle: it lets workers end and tidies up."""
    global _work
    with contextlib.suppress(ValueError):
        for number in _NOT_FOR_WORKERS:
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = make(settings)


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, and they would wait for work without end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _call(item: Any) -> Any:
    assert _work is not None
    return _work(item)
