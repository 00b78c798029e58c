"""A download from its lists to its last file."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.progress import Progress, silent
from engine.core.signals import stopping
from engine.data.download.fetch import Body, Fetcher
from engine.data.download.lists import import_lists
from engine.data.download.outcome import Cause, Downloaded, Failed, Item, Refusal
from engine.data.download.pool import Pool
from engine.data.download.report import write_tables
from engine.data.download.schedule import Scheduler
from engine.data.download.settings import DownloadSettings
from engine.data.download.state import NAME, State
from engine.data.download.store import Folder, Store
from engine.errors import DataError

_BATCH = 500
_SECONDS = 1.0
"""Results are committed when so many are there, or so much time has passed."""

_SEALING = 2
"""Full shards that may wait to be written before no more of the list is read."""

_HOSTS = 2000


@dataclass
class DownloadProgress:
    """Where a download stands.

    Attributes:
        images: in the list.
        downloaded, failed: with a result, of this run and those before.
        received: bytes of this run.
        started: by ``time.monotonic``.
        fresh: results of this run.
        kinds: failures of this run by kind.
        hosts: failures of this run by host; of very many hosts, the worst are kept.
    """

    images: int = 0
    downloaded: int = 0
    failed: int = 0
    received: int = 0
    fresh: int = 0
    started: float = field(default_factory=time.monotonic)
    kinds: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)

    def count_failure(self, result: Failed) -> None:
        """Count a failure."""
        self.failed += 1
        self.kinds[result.failure.kind] += 1
        self.hosts[result.host or "(no host)"] += 1
        if len(self.hosts) > _HOSTS:
            self.hosts = Counter(dict(self.hosts.most_common(_HOSTS // 2)))


@dataclass(frozen=True)
class DownloadOutcome:
    """How a download ended: its report, and the signal that stopped it, if one did."""

    report: dict[str, Any]
    signal: int | None


def download(
    metadata: Path,
    images: Path,
    out: Path,
    settings: DownloadSettings,
    *,
    retry_failed: bool = False,
    on_ray: bool = False,
    watch: Callable[[DownloadProgress], None] = lambda progress: None,
    every: float = 1.0,
    watch_lists: Progress = silent,
) -> DownloadOutcome:
    """Bring a click log's images to ``out``; the same call goes on with what is left.

    Args:
        metadata: JSON lines of images with queries.
        images: JSON lines of images with URLs.
        out: the folder; new, empty, or of an earlier call.
        settings: the choices.
        retry_failed: take up the images that failed before, too.
        on_ray: fetch and decode on the machines of a Ray cluster.
        watch: receives where it stands, again and again.
        every: seconds between two calls of ``watch``.
        watch_lists: receives how far the lists are read.

    Raises:
        DataError: the folder is another's or in use; lists or choices are not those it was begun
            with; the disk is full. What was downloaded is kept, and the same call goes on.
    """
    folder = Folder(out)
    try:
        with _explained(out):
            if not (out / NAME).exists():
                import_lists(metadata, images, out / NAME, settings, watch_lists)
            state = State(out / NAME)
            try:
                state.check(settings, metadata, images)
                with closing(Store(out, state, settings)) as store:
                    _recover(store)
                    run = _Run(store, retry_failed, watch, every)
                    stopped = asyncio.run(run.go(folder.decoders.handle, on_ray))
                    report = write_tables(out, state)
                state.set_note("boot", None)
                return DownloadOutcome(report, stopped)
            finally:
                state.close()
    finally:
        folder.release()


def _recover(store: Store) -> None:
    """Put right what a killed run left; after a crash of the machine, look at every picture."""
    boot = _boot()
    before = store.state.note("boot")
    store.recover()
    if before not in (None, boot):
        store.recheck()
    store.state.set_note("boot", boot)


def _boot() -> str:
    """Which start of the machine this is; another one means that unsynced files may be lost."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Say what a failing disk means."""
    hint = "make room and give the same command again: it goes on where it stopped"
    try:
        yield
    except sqlite3.OperationalError as error:
        raise DataError(f"the state of {out} cannot be written: {error}", hint=hint) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full" if full else "a file cannot be written"
        raise DataError(f"{out}: {what}: {error}", hint=hint) from error
    except DataError as error:
        if "cannot be written" in error.message and error.hint is None:
            raise DataError(f"{out}: {error.message}", hint=hint) from error
        raise


class _Run:
    """One run: results are gathered, committed in batches, shards sealed as they fill."""

    def __init__(
        self,
        store: Store,
        retry_failed: bool,
        watch: Callable[[DownloadProgress], None],
        every: float,
    ) -> None:
        self._store, self._state, self._settings = store, store.state, store.settings
        self._retry_failed, self._watch, self._every = retry_failed, watch, every
        downloaded, failed = self._state.progress()
        self.progress = DownloadProgress(self._state.images, downloaded, failed)
        self._downloaded: list[tuple[Downloaded, str]] = []
        self._failed: list[Failed] = []
        self._left: dict[int, int] = {}
        self._full: asyncio.Queue[int | None] = asyncio.Queue()
        self._sealing = 0
        self._signal: int | None = None
        self._scheduler: Scheduler | None = None

    async def go(self, lock: int, on_ray: bool) -> int | None:
        """Run to the end or to a signal, which is given back."""
        self._listen()
        jobs = [asyncio.create_task(self._tick()), asyncio.create_task(self._seal_all())]
        work = asyncio.create_task(self._spread() if on_ray else self._fetch_all(lock))
        try:
            await asyncio.wait([work, *jobs], return_when=asyncio.FIRST_COMPLETED)
            for job in (*jobs, work):  # a job that ended before the work ended by an error
                if job.done():
                    await job
            self._flush()
            await self._full.put(None)
            await jobs[1]
        finally:
            work.cancel()
            for job in jobs:
                job.cancel()
            await asyncio.gather(work, *jobs, return_exceptions=True)
        self._watch(self.progress)
        return self._signal

    async def _fetch_all(self, lock: int) -> None:
        _allow_files(self._settings.connections)
        async with Pool(self._settings, (lock,)) as pool, Fetcher(self._settings) as fetcher:

            async def decode(item: Item, body: Body) -> Downloaded | Refusal:
                self.progress.received += len(body.data)
                return await pool.decode(item.position, body, self._store.target(item.position))

            self._scheduler = Scheduler(
                self._settings,
                self._items(),
                fetcher.get,
                decode,
                self._done,
                backlog=4 * pool.workers,
                hold=lambda: self._sealing > _SEALING,
            )
            if self._signal is None:
                await self._scheduler.run()

    async def _spread(self) -> None:
        from engine.data.download.spread import spread

        await spread(
            self._settings,
            self._items(),
            self._taken,
            stopped=lambda: self._signal is not None,
            held=lambda: self._sealing > _SEALING,
        )

    # ---- what is wanted -------------------------------------------------------------------

    def _items(self) -> Iterator[Item]:
        """The images that are wanted, a shard's worth in memory at a time."""
        shards = set(self._state.unsealed())
        if self._retry_failed:
            shards.update(self._state.shards_with_failures())
        for shard in sorted(shards):
            items = self._state.pending(shard)
            if self._retry_failed:
                again = self._state.failed(shard)
                self.progress.failed -= len(again)
                items = sorted([*items, *again], key=lambda item: item.position)
            self._left[shard] = len(items)
            if not items:
                self._flush()
                self._close(shard)
            unfit = self._store.unfit(items)
            for item in items:
                if item.position in unfit:
                    failure = Refusal(Cause.LONG_ID, f"{len(item.id)} characters")
                    self._done(item, Failed(item.position, "", failure, 0))
                else:
                    yield item

    # ---- what came of it ------------------------------------------------------------------

    def _taken(self, item: Item, result: Downloaded | Failed) -> None:
        """A result from another machine."""
        if isinstance(result, Downloaded):
            self.progress.received += result.received
        self._done(item, result)

    def _done(self, item: Item, result: Downloaded | Failed) -> None:
        self.progress.fresh += 1
        if isinstance(result, Downloaded):
            self.progress.downloaded += 1
            self._downloaded.append((self._store.keep(result), item.id))
        else:
            self.progress.count_failure(result)
            self._failed.append(result)
        shard = self._state.shard_of(item.position)
        self._left[shard] -= 1
        if not self._left[shard] or len(self._downloaded) + len(self._failed) >= _BATCH:
            self._flush()
        if not self._left[shard]:
            self._close(shard)

    def _flush(self) -> None:
        """Commit what is there."""
        if self._downloaded or self._failed:
            downloaded, failed = self._downloaded, self._failed
            self._downloaded, self._failed = [], []
            self._store.record(downloaded, failed)

    def _close(self, shard: int) -> None:
        """Every image of the shard has its result, and all are committed."""
        del self._left[shard]
        if self._state.sealed(shard) is None:
            self._sealing += 1
            self._full.put_nowait(shard)

    async def _seal_all(self) -> None:
        while (shard := await self._full.get()) is not None:
            images = await asyncio.to_thread(self._store.build, shard)
            self._state.seal(shard, images)
            await asyncio.to_thread(self._store.clear, shard)
            self._sealing -= 1
            if self._scheduler is not None:
                self._scheduler.pump()

    async def _tick(self) -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(min(_SECONDS, self._every))
            self._flush()
            if time.monotonic() - shown >= self._every:
                shown = time.monotonic()
                self._watch(self.progress)

    # ---- signals --------------------------------------------------------------------------

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, *stopping()):
            with contextlib.suppress(ValueError, RuntimeError):  # not the main thread
                loop.add_signal_handler(number, self._stop, number)

    def _stop(self, number: int) -> None:
        """The first signal stops in order, the second at once; the state bears both."""
        if self._signal is not None:
            if sys.stderr.isatty():
                sys.stderr.write("\x1b[?25h\n")  # the cursor, which a progress display hides
                sys.stderr.flush()
            os._exit(128 + number)
        self._signal = number
        if self._scheduler is not None:
            self._scheduler.stop()


def _allow_files(connections: int) -> None:
    """Raise the limit on open files: each connection is one, idle ones linger a moment."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * connections + 256
    if soft < wanted and soft != resource.RLIM_INFINITY:
        maximum = wanted if hard == resource.RLIM_INFINITY else min(hard, max(wanted, soft))
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, hard))
