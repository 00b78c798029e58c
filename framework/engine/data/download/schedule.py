"""Which image is asked for next: limits in all and a host, retries, deadlines.

Every request, also a redirect's next hop and a retry, waits in line for its own host, so the limit
a host holds for all of them, and a slow host holds up nobody else.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from yarl import URL

from engine.data.download.fetch import Body, Redirect, parse
from engine.data.download.outcome import Failure, Had, Item, Kind, Lost
from engine.data.download.settings import DownloadSettings

_HELD = 4096
"""Images that wait for their host or for a retry; beyond, no more of the list is read."""


class Get(Protocol):
    """One request."""

    def __call__(self, url: URL, seconds: float) -> Awaitable[Body | Redirect | Failure]: ...


Decode = Callable[[Item, Body], Awaitable[Had | Failure]]
Done = Callable[[Item, Had | Lost], None]


@dataclass(eq=False)
class Job:
    """An image on its way."""

    item: Item
    url: URL
    hops: int = 0
    attempts: int = 1
    deadline: float | None = None

    @property
    def host(self) -> str:
        """Of the URL it is at now."""
        return self.url.host or ""


@dataclass(eq=False)
class Host:
    """Requests under way and in line at one host; none before ``rest_until``."""

    active: int = 0
    line: deque[Job] = field(default_factory=deque)
    rest_until: float = 0.0


class Scheduler:
    """Brings every item of a source to its end.

    Args:
        settings: the limits.
        source: the items; read no further than needed.
        get: makes one request.
        decode: makes the picture of a body.
        done: told the end of each item.
        backlog: bodies that may wait for decoding before no more are fetched.
        hold: while it says so, no more of the source is read; call :meth:`pump` after.
    """

    def __init__(
        self,
        settings: DownloadSettings,
        source: Iterator[Item],
        get: Get,
        decode: Decode,
        done: Done,
        *,
        backlog: int,
        hold: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings, self._source = settings, source
        self._get, self._decode, self._done = get, decode, done
        self._backlog, self._hold = backlog, hold
        self._hosts: dict[str, Host] = {}
        self._ready: deque[Job] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._fetching = self._decoding = self._held = 0
        self._exhausted = self._stopping = False
        self._finished: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Go on until every item has its end, or :meth:`stop`.

        Raises:
            Exception: what ``decode`` or ``done`` raised; everything under way is dropped.
        """
        self._loop = asyncio.get_running_loop()
        self._finished = self._loop.create_future()
        try:
            self.pump()
            await self._finished
        finally:
            self._stopping = True
            for timer in self._timers:
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> None:
        """Drop what is under way, as if it had not been begun."""
        self._stopping = True
        self._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        if self._finished is not None and not self._finished.done():
            if error is None:
                self._finished.set_result(None)
            else:
                self._finished.set_exception(error)

    def pump(self) -> None:
        """Begin as many requests as the limits allow."""
        if self._stopping:
            return
        assert self._loop is not None
        try:
            while self._fetching < self._settings.connections and self._decoding < self._backlog:
                job = self._next()
                if job is None:
                    break
                self._fetching += 1
                task = self._loop.create_task(self._work(job))
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        except BaseException as error:  # in a timer's callback it would go unheard
            self._finish(error)
            return
        if self._exhausted and not (self._tasks or self._held or self._ready):
            self._finish(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._finish(error)
        self.pump()

    def _next(self) -> Job | None:
        """A job whose host is free; its place there is taken."""
        if self._ready:
            return self._ready.popleft()
        while not self._exhausted and self._held < _HELD and not self._hold():
            item = next(self._source, None)
            if item is None:
                self._exhausted = True
                return None
            url = parse(item.url)
            if isinstance(url, Failure):
                self._done(item, Lost(item.position, "", url, 0))
                continue
            job = Job(item, url)
            if self._place(job):
                return job
        return None

    # ---- hosts ----------------------------------------------------------------------------

    def _place(self, job: Job) -> bool:
        """Take a place at the job's host, or stand in line there."""
        assert self._loop is not None
        host = self._hosts.setdefault(job.host, Host())
        if host.active < self._settings.per_host and host.rest_until <= self._loop.time():
            host.active += 1
            return True
        host.line.append(job)
        self._held += 1
        return False

    def _queue(self, job: Job) -> None:
        if self._place(job):
            self._ready.append(job)

    def _leave(self, name: str) -> None:
        """A request has ended: the next in line may go."""
        self._hosts[name].active -= 1
        self._advance(name)

    def _advance(self, name: str) -> None:
        assert self._loop is not None
        host = self._hosts.get(name)
        if host is None:
            return
        resting = host.rest_until > self._loop.time()
        while host.line and not resting and host.active < self._settings.per_host:
            host.active += 1
            self._held -= 1
            self._ready.append(host.line.popleft())
        if not host.active and not host.line and not resting:
            del self._hosts[name]

    def _rest(self, name: str, seconds: float) -> None:
        """Ask a host for nothing for a while, as it said (Retry-After)."""
        assert self._loop is not None
        host = self._hosts.setdefault(name, Host())
        until = self._loop.time() + seconds
        if until > host.rest_until:
            host.rest_until = until
            self._later(seconds, lambda: self._advance(name))

    def _later(self, seconds: float, then: Callable[[], object]) -> None:
        assert self._loop is not None

        def fire() -> None:
            self._timers.discard(timer)
            then()
            self.pump()

        # A little late, so that the clock has passed what waits for it.
        timer = self._loop.call_later(seconds + 0.01, fire)
        self._timers.add(timer)

    # ---- one job --------------------------------------------------------------------------

    async def _work(self, job: Job) -> None:
        assert self._loop is not None
        now = self._loop.time()
        if job.deadline is None:
            job.deadline = now + self._settings.deadline
        seconds = min(self._settings.timeout, job.deadline - now)
        host = job.host
        try:
            if seconds <= 0:
                found: Body | Redirect | Failure = Failure(Kind.TIMEOUT, "with all its retries")
            else:
                found = await self._get(job.url, seconds)
        finally:
            self._fetching -= 1
            self._leave(host)
        if isinstance(found, Redirect):
            self._follow(job, found)
        elif isinstance(found, Failure):
            self._fail(job, found)
        else:
            self._decoding += 1
            try:
                self.pump()
                result = await self._decode(job.item, found)
            finally:
                self._decoding -= 1
            if isinstance(result, Failure):
                self._done(job.item, self._lost(job, result))
            else:
                self._done(job.item, result)

    def _lost(self, job: Job, failure: Failure) -> Lost:
        return Lost(job.item.position, job.host, failure, job.attempts)

    def _follow(self, job: Job, found: Redirect) -> None:
        job.hops += 1
        if job.hops > self._settings.max_redirects:
            self._done(job.item, self._lost(job, Failure(Kind.REDIRECTS, f"over {job.hops - 1}")))
            return
        job.url = found.url
        self._queue(job)

    def _fail(self, job: Job, failure: Failure) -> None:
        """Try again after a pause where that may help, else give the image up."""
        assert self._loop is not None
        assert job.deadline is not None
        settings = self._settings
        pause = settings.pause * 2 ** (job.attempts - 1) * random.uniform(0.5, 1.5)
        pause = max(min(pause, settings.max_pause), failure.retry_after)
        if failure.retry_after and failure.may_pass:
            self._rest(job.host, min(failure.retry_after, settings.max_pause))
        hopeless = pause > settings.max_pause or self._loop.time() + pause > job.deadline
        if not failure.may_pass or job.attempts > settings.retries or hopeless:
            self._done(job.item, self._lost(job, failure))
            return
        job.attempts += 1
        self._held += 1

        def again() -> None:
            self._held -= 1
            self._queue(job)

        self._later(pause, again)
