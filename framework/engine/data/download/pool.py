"""Processes that decode, seen from the event loop.

A process that dies costs at most the one picture it was at, which gets one more try alone in line;
what else it held goes to the next process untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from engine.data.download import worker
from engine.data.download.fetch import Body
from engine.data.download.outcome import Cause, Downloaded, Refusal
from engine.data.download.settings import DownloadSettings
from engine.errors import DataError

_HELD = 3
"""Pictures in one process's hands: the one it is at, and what it goes on with without waiting."""

_TRIES = 2
_STUCK_AFTER = 60.0
_DEATHS = 5
"""In a row and without one result between: then it is not the pictures' fault."""

_ARGUMENTS = ["-m", "engine.data.download.worker"]

_MALLOC = {
    name: os.environ.get(name, str(256 << 20))
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
}
"""glibc then keeps the room of one picture for the next, and asks the kernel for little."""

_KINDS = {
    worker.BROKEN: Cause.BROKEN,
    worker.NOT_IMAGE: Cause.NOT_IMAGE,
    worker.PIXELS: Cause.PIXELS,
    worker.PACKED: Cause.ENCODING,
}


@dataclass(eq=False)
class PoolTask:
    """A body to decode, and who waits for it."""

    position: int
    body: Body
    path: str
    future: asyncio.Future[Downloaded | Refusal]
    tries: int = 0


@dataclass(eq=False)
class Process:
    """One process and what it holds, first the one it is at."""

    process: subprocess.Popen[bytes]
    input: asyncio.WriteTransport
    output: asyncio.BaseTransport | None = None
    held: deque[PoolTask] = field(default_factory=deque)
    since: float = 0.0
    stuck: bool = False


class Pool:
    """Decodes bodies in ``workers`` processes. Use as an asynchronous context.

    Args:
        settings: the choices; ``workers`` 0 is one a core.
        keep_open: file handles that the processes inherit (the folder's lock).
    """

    def __init__(self, settings: DownloadSettings, keep_open: tuple[int, ...] = ()) -> None:
        self.workers = settings.workers or len(os.sched_getaffinity(0))
        keys = ("size", "quality", "keep_original", "max_bytes")
        self._choices = json.dumps({key: getattr(settings, key) for key in keys})
        self._keep_open = keep_open
        self._waiting: deque[PoolTask] = deque()
        self._processes: set[Process] = set()
        self._deaths = 0
        self._closing = False
        self._watch: asyncio.Task[None] | None = None
        self._starts: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Pool:
        for _ in range(self.workers):
            await self._start()
        self._watch = asyncio.create_task(self._watch_stuck())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        for task in (self._watch, *self._starts):
            if task is not None:
                task.cancel()
        for process in list(self._processes):
            process.input.abort()
            if process.output is not None:
                process.output.close()
            process.process.kill()
            process.process.wait()

    def decode(
        self, position: int, body: Body, path: Path | None
    ) -> asyncio.Future[Downloaded | Refusal]:
        """Decode a body; its JPEG is written to ``path``, or comes with the result.

        The future fails with a DataError where the disk is full, or no process can live.
        """
        future: asyncio.Future[Downloaded | Refusal] = asyncio.get_running_loop().create_future()
        self._waiting.append(PoolTask(position, body, "" if path is None else str(path), future))
        self._feed()
        return future

    def _feed(self) -> None:
        while self._waiting:
            free = min(self._processes, key=lambda p: len(p.held), default=None)
            if free is None or len(free.held) >= _HELD or free.stuck:
                return
            task = self._waiting.popleft()
            if task.future.done():  # cancelled
                continue
            if not free.held:
                free.since = time.monotonic()
            free.held.append(task)
            path = os.fsencode(task.path)
            size, packing = len(task.body.data), task.body.packing
            head = worker.HEAD.pack(task.position, size, packing, len(path))
            # In one piece: each write by itself would wake the process up.
            free.input.write(b"".join((head, path, task.body.data)))

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        process = subprocess.Popen(
            [sys.executable, *_ARGUMENTS, self._choices],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **_MALLOC},
            pass_fds=self._keep_open,
        )
        assert process.stdin is not None
        _widen(process.stdin.fileno())
        transport, _ = await loop.connect_write_pipe(_Input, process.stdin)
        found = Process(process, transport)
        found.output, _ = await loop.connect_read_pipe(lambda: _Output(self, found), process.stdout)
        self._processes.add(found)
        self._feed()

    async def _watch_stuck(self) -> None:
        while True:
            await asyncio.sleep(1)
            for process in self._processes:
                if process.held and time.monotonic() - process.since > _STUCK_AFTER:
                    process.stuck = True
                    process.process.kill()

    def _result(self, process: Process, frame: tuple[int, ...], digest: bytes, text: bytes) -> None:
        """A process answered about the picture it was at."""
        position, status, width, height, size = frame
        task = process.held.popleft()
        process.since = time.monotonic()
        self._deaths = 0
        if not task.future.done():
            if status == worker.DISK:
                task.future.set_exception(DataError(f"a picture cannot be written: {_text(text)}"))
            elif status == worker.GOOD:
                received = len(task.body.data)
                data = None if task.path else text
                task.future.set_result(
                    Downloaded(position, width, height, size, digest, received, data)
                )
            else:
                task.future.set_result(Refusal(_KINDS[status], _text(text)))
        self._feed()

    def _died(self, process: Process) -> None:
        """A process is gone: the one it was at gets one more try, the others go on elsewhere."""
        if self._closing:
            return
        self._processes.discard(process)
        process.input.abort()
        process.process.kill()
        process.process.wait()
        self._deaths += 1
        if process.held:
            task = process.held.popleft()
            task.tries += 1
            self._waiting.extendleft(reversed(process.held))
            if process.stuck:
                _settle(task, Refusal(Cause.STUCK, f"over {_STUCK_AFTER:.0f} s"))
            elif task.tries >= _TRIES:
                _settle(task, Refusal(Cause.DIED, _ending(process.process.returncode)))
            else:
                self._waiting.appendleft(task)
            process.held.clear()
        if self._deaths > _DEATHS * self.workers:
            how = _ending(process.process.returncode)
            error = DataError(f"the processes that decode die as soon as they start ({how})")
            for task in self._waiting:
                if not task.future.done():
                    task.future.set_exception(error)
            self._waiting.clear()
            return
        start = asyncio.ensure_future(self._start())
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)


def _settle(task: PoolTask, failure: Refusal) -> None:
    if not task.future.done():
        task.future.set_result(failure)


def _text(text: bytes) -> str:
    return text.decode(errors="replace")


def _ending(code: int | None) -> str:
    return f"by signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _widen(handle: int) -> None:
    """Let the pipe hold a whole picture, which spares both sides most of their waking up."""
    import fcntl

    with contextlib.suppress(OSError, AttributeError):  # not Linux, or the user's limit is reached
        fcntl.fcntl(handle, fcntl.F_SETPIPE_SZ, 1 << 20)


class _Input(asyncio.BaseProtocol):
    """The writing end; a process that died is noticed at its reading end."""

    def pause_writing(self) -> None:
        """What is under way is bounded by what a process may hold."""


class _Output(asyncio.Protocol):
    """Takes a process's frames apart."""

    def __init__(self, pool: Pool, process: Process) -> None:
        self._pool, self._process = pool, process
        self._buffer = bytearray()

    def data_received(self, data: bytes) -> None:
        buffer, head = self._buffer, worker.RESULT
        buffer += data
        while len(buffer) >= head.size:
            *frame, digest, length = head.unpack_from(buffer)
            end = head.size + length
            if len(buffer) < end:
                return
            text = bytes(buffer[head.size : end])
            del buffer[:end]
            self._pool._result(self._process, tuple(frame), digest, text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool._died(self._process)
