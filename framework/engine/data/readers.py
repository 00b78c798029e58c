"""Readers of pictures: threads of this process, or processes of their own.

Threads share what was read of an object store, and start at once. Processes take no turns with
training's own Python code: they serve GPUs that want thousands of pictures a second. Both give the
same pixels.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from engine.contracts.preprocess import Pixels
from engine.data.views import ViewReader
from engine.errors import DataError, PluginError

Found: TypeAlias = "Future[Pixels | str]"
"""The pixels of a view, or why there are none."""

DEPTH = 2
"""Pictures that a process has to read: one in work, one that waits for it."""


class Readers(Protocol):
    """What reads views."""

    def submit(self, index: int, view: int) -> Found:
        """Begin to read a view of a row of the data set."""

    def close(self) -> None:
        """Stop; what was not begun is cancelled."""


class ThreadReaders:
    """Threads.

    Args:
        reader: of the views.
        count: of threads.
    """

    def __init__(self, reader: ViewReader, count: int) -> None:
        self._reader = reader
        self._pool = ThreadPoolExecutor(count, "images")

    def submit(self, index: int, view: int) -> Found:
        """Begin to read a view."""
        return self._pool.submit(self._reader.read, index, view)

    def close(self) -> None:
        """Stop."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class ProcessReaders:
    """Processes that write pixels into shared memory. They end with this one, however it ends.

    Each has its own shards where the data are in such, so that every part of a shard is fetched by
    one of them; one without work takes some from the longest queue.

    Args:
        reader: of the views; it goes to the processes by pickle.
        count: of processes.

    Raises:
        DataError: the data set cannot go to another process.
    """

    def __init__(self, reader: ViewReader, count: int) -> None:
        side = reader.preprocess.size
        self._shape = (side, side, 3)
        self._starts = reader.dataset.shards()
        self._tasks: list[deque[tuple[int, int, Found]]] = [deque() for _ in range(count)]
        self._changed, self._closed = threading.Condition(), False
        self._broken: DataError | None = None
        try:
            data = pickle.dumps(reader)
        except Exception as error:  # pickle has errors of many kinds
            raise DataError(
                f"the data set `{reader.dataset.name}` cannot be read by other processes: {error}",
                hint="`train.readers: threads`",
            ) from error
        self._workers = [_Worker(data, DEPTH * side * side * 3) for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name="readers", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, index: int, view: int) -> Found:
        """Begin to read a view."""
        future: Found = Future()
        place = index
        if self._starts is not None:
            place = int(np.searchsorted(self._starts, index, "right"))
        with self._changed:
            if self._broken is not None:
                future.set_exception(self._broken)
                return future
            self._tasks[place % len(self._tasks)].append((index, view, future))
            self._changed.notify_all()
        return future

    def _next(self, number: int, *, wait: bool) -> tuple[int, int, Found] | None:
        """A task for a process: its own first, else of the longest queue."""
        with self._changed:
            while True:
                queue = self._tasks[number] or max(self._tasks, key=len)
                while queue:
                    task = queue.popleft()
                    if task[2].set_running_or_notify_cancel():
                        return task
                    queue = self._tasks[number] or max(self._tasks, key=len)
                if self._closed or self._broken or not wait:
                    return None
                self._changed.wait()

    def _serve(self, number: int) -> None:
        """Give a process its tasks, and take what it read; a thread of its own."""
        worker = self._workers[number]
        under_way: deque[tuple[int, Found]] = deque()
        free = list(range(DEPTH))
        while True:
            try:
                while free:
                    task = self._next(number, wait=not under_way)
                    if task is None:
                        break
                    under_way.append((free.pop(), task[2]))
                    worker.pipe.send((under_way[-1][0], task[0], task[1]))
                if not under_way:
                    return
                answer = worker.pipe.recv()
            except (EOFError, OSError) as error:
                self._fail(worker, [future for _, future in under_way], error)
                return
            slot, future = under_way.popleft()
            self._take(worker, slot, future, answer)
            free.append(slot)

    def _take(self, worker: _Worker, slot: int, future: Found, answer: Any) -> None:
        if answer is None:
            size = self._shape[0] * self._shape[1] * 3
            data = worker.memory[slot * size : (slot + 1) * size]
            future.set_result(np.frombuffer(data, np.uint8).reshape(self._shape))
        elif isinstance(answer, str):
            future.set_result(answer)
        else:
            future.set_exception(PluginError(answer[0], hint=answer[1]))

    def _fail(self, worker: _Worker, futures: list[Found], error: BaseException) -> None:
        code = worker.stop()
        failure = DataError(
            f"a process that reads pictures ended by itself (exit code {code}):"
            f" {worker.errors() or type(error).__name__}",
            hint="too little memory? fewer `train.workers`, or `train.readers: threads`;"
            " `--resume` goes on",
        )
        with self._changed:
            if self._closed:
                return
            self._broken = failure
            for queue in self._tasks:
                futures += [task[2] for task in queue]
                queue.clear()
            self._changed.notify_all()
        for future in futures:
            if not future.cancelled():
                future.set_exception(failure)

    def close(self) -> None:
        """Stop, and wait until every process has ended."""
        with self._changed:
            self._closed = True
            for queue in self._tasks:
                for task in queue:
                    task[2].cancel()
                queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """A process, its pipe and its memory. Started without ``fork``: PyTorch has threads."""

    def __init__(self, reader: bytes, size: int) -> None:
        shared = Path("/dev/shm")
        place = shared if shared.is_dir() and os.access(shared, os.W_OK) else None
        own, other = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        with tempfile.TemporaryFile(dir=place) as file, other:
            file.truncate(size)
            self.memory = mmap.mmap(file.fileno(), size)
            handles = (other.fileno(), file.fileno())
            command = [sys.executable, "-m", "engine.data.reader_process", *map(str, handles)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1",
                           "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
            self._process = subprocess.Popen(
                command, pass_fds=handles, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=self._errors,
            )  # fmt: skip
        self.pipe = Connection(own.detach())
        with contextlib.suppress(OSError):  # it ended at once: the first task says so
            self.pipe.send_bytes(reader)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def stop(self) -> int:
        """Close the pipe, which ends it; its exit code."""
        self.pipe.close()
        try:
            return self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def errors(self) -> str:
        """The last line that it wrote to stderr."""
        self._errors.seek(0)
        lines = self._errors.read(1 << 20).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""


def make_readers(kind: str, reader: ViewReader, count: int) -> Readers:
    """``threads`` or ``processes``."""
    made: Callable[[ViewReader, int], Readers]
    made = ProcessReaders if kind == "processes" else ThreadReaders
    return made(reader, count)
