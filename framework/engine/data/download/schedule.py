"""Which image is asked for next: limits in all and of each host, retries, deadlines.

Every request, also a redirect's next hop and a retry, waits in line for its own host, so that the
host's pace holds for all of them, and a slow host delays no other.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Protocol

from yarl import URL

from engine.data.download.fetch import Body, Redirect
from engine.data.download.hosts import Host, HostJob, Pace
from engine.data.download.outcome import Cause, Downloaded, Failed, Item, Refusal
from engine.data.download.settings import DownloadSettings
from engine.data.download.urls import parse

_HELD = 4096
"""Images that wait for their host or for a retry; beyond, no more of the list is read."""

_REMEMBERED = 10_000
"""Hosts whose pace is remembered while nothing is wanted of them."""


_ALONE, _ALONE_FREE = 2, 8
"""Times that an image is refused while others of its host are answered, before it counts as tries
of the image: by a plain 503; by 429, or 503 with Retry-After."""

Answer = Body | Redirect | Refusal


class Get(Protocol):
    """One request."""

    def __call__(self, url: URL, seconds: float) -> Awaitable[Answer]:
        """Ask for a URL, giving up after so many seconds."""


Decode = Callable[[Item, Body], Awaitable[Downloaded | Refusal]]
Done = Callable[[Item, Downloaded | Failed], None]


class Scheduler:
    """Brings every item of a source to its end.

    Args:
        settings: the limits.
        source: the items; read no further than needed.
        get: makes one request.
        decode: makes the picture of a body.
        done: receives the end of each item.
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
        self._ready: deque[HostJob] = deque()
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

    def _next(self) -> HostJob | None:
        """A job whose host is free; its place there is taken."""
        if self._ready:
            return self._ready.popleft()
        while not self._exhausted and self._held < _HELD and not self._hold():
            item = next(self._source, None)
            if item is None:
                self._exhausted = True
                return None
            url = parse(item.url)
            if isinstance(url, Refusal):
                self._done(item, Failed(item.position, "", url, 0))
                continue
            job = HostJob(item, url)
            if self._place(job):
                return job
        return None

    # ---- hosts ----------------------------------------------------------------------------

    def _place(self, job: HostJob) -> bool:
        """Take a place at the job's host, or stand in line there."""
        assert self._loop is not None
        host = self._hosts.get(job.host)
        if host is None:
            host = self._hosts[job.host] = Host(self._settings)
        now = self._loop.time()
        if not len(host) and host.pace.has_room() and not host.pace.wait(now):
            self._take(host, job, now)
            return True
        # Others are before it: that is not its own time. A rest that the host asked for is.
        asked = job.failure is not None and job.failure.free
        job.queued = now + (host.pace.wait(now) if asked else 0.0)
        host.add(job)
        self._held += 1
        self._wait(job.host, host, now)
        return False

    def _take(self, host: Host, job: HostJob, now: float) -> None:
        """Give a job its place at a host."""
        host.pace.begin(now)
        job.begun = now
        if job.deadline is not None:
            job.deadline += max(0.0, now - job.queued)
        job.queued = now

    def _queue(self, job: HostJob) -> None:
        if self._place(job):
            self._ready.append(job)

    def _leave(self, name: str) -> None:
        """A request has ended: the next in line may go."""
        self._hosts[name].pace.end()
        self._advance(name)

    def _advance(self, name: str) -> None:
        """Let go who may, and come back when the next one may."""
        assert self._loop is not None
        host = self._hosts.get(name)
        if host is None:
            return
        now = self._loop.time()
        while len(host) and host.pace.has_room() and not host.pace.wait(now):
            job = host.pop()
            self._held -= 1
            self._take(host, job, now)
            self._ready.append(job)
        self._wait(name, host, now)
        if not len(host) and not host.pace.active and self._forgets(host):
            del self._hosts[name]

    def _wait(self, name: str, host: Host, now: float) -> None:
        """Come back when the first in line may go; where there is no room, one that ends calls."""
        if host.timer is None and len(host) and host.pace.has_room():

            def again() -> None:
                host.timer = None
                self._advance(name)

            host.timer = self._later(host.pace.wait(now), again)

    def _forgets(self, host: Host) -> bool:
        return host.pace.is_forgettable() or len(self._hosts) > _REMEMBERED

    def _later(self, seconds: float, then: Callable[[], object]) -> asyncio.TimerHandle:
        assert self._loop is not None

        def fire() -> None:
            self._timers.discard(timer)
            then()
            self.pump()

        # A little late, so that the clock has passed what waits for it.
        timer = self._loop.call_later(seconds + 0.01, fire)
        self._timers.add(timer)
        return timer

    # ---- one job --------------------------------------------------------------------------

    async def _work(self, job: HostJob) -> None:
        assert self._loop is not None
        now = self._loop.time()
        if job.deadline is None:
            job.deadline = now + self._settings.deadline
        seconds = min(self._settings.timeout, job.deadline - now)
        host = job.host
        found: Answer | None = None
        try:
            if seconds <= 0:
                found = job.failure or Refusal(Cause.TIMEOUT, "with all its retries")
                found = replace(found, may_pass=False)
            else:
                found = await self._get(job.url, seconds)
                found = self._learn(job, found)
        finally:
            self._fetching -= 1
            self._leave(host)
        if isinstance(found, Redirect):
            self._follow(job, found)
        elif isinstance(found, Refusal):
            self._fail(job, found)
        else:
            self._decoding += 1
            try:
                self.pump()
                result = await self._decode(job.item, found)
            finally:
                self._decoding -= 1
            if isinstance(result, Refusal):
                self._done(job.item, self._lost(job, result))
            else:
                self._done(job.item, result)

    def _learn(self, job: HostJob, found: Answer) -> Answer:
        """Learn from an answer how fast its host may be asked; gives what it says of the image."""
        assert self._loop is not None
        pace, now = self._hosts[job.host].pace, self._loop.time()
        if not isinstance(found, Refusal):
            pace.answered(now)
        elif found.busy:
            return self._learn_refusal(job, found, pace, now)
        elif found.retry_after:
            pace.rest(now, found.retry_after)
        elif found.kind in Cause.ANSWERED or (found.kind[:4] == "HTTP" and not found.may_pass):
            pace.answered(now)
        return found

    def _learn_refusal(self, job: HostJob, found: Refusal, pace: Pace, now: float) -> Refusal:
        """Slow the host down; also find out whether it is the image's fault.

        An image that is refused again and again while others are answered has only itself to
        blame: that says nothing of the host, and counts as a try. So does a plain 503 of a host
        that never gave another answer, which is more likely broken than busy.
        """
        if job.refused < pace.answered_at:
            job.alone += 1
        if job.refused == float("inf"):
            pace.refused_images += 1
        job.refused = now
        if job.alone > (_ALONE_FREE if found.free else _ALONE):
            return replace(found, free=False)
        if found.free or job.alone < _ALONE:
            pace.refused(job.begun, now, found.retry_after, plain=not found.free)
        return replace(found, free=found.free or pace.has_answered())

    def _lost(self, job: HostJob, failure: Refusal) -> Failed:
        return Failed(job.item.position, job.host, failure, job.attempts)

    def _follow(self, job: HostJob, found: Redirect) -> None:
        job.hops += 1
        if job.hops > self._settings.max_redirects:
            self._done(job.item, self._lost(job, Refusal(Cause.REDIRECTS, f"over {job.hops - 1}")))
            return
        job.url, job.failure = found.url, None
        job.refused, job.alone = float("inf"), 0
        self._queue(job)

    def _fail(self, job: HostJob, failure: Refusal) -> None:
        """Try again where that may help and there is time, else give the image up."""
        assert self._loop is not None
        assert job.deadline is not None
        job.failure = failure
        now = self._loop.time()
        if failure.busy and self._is_closed(job.host, failure):
            self._done(job.item, self._lost(job, failure))
            return
        pause = max(0.0 if failure.free else self._pause(job), failure.retry_after)
        used_up = not failure.free and job.attempts > self._settings.retries
        if not failure.may_pass or used_up or now + pause > job.deadline:
            self._done(job.item, self._lost(job, failure))
        elif failure.free:
            self._queue(job)  # its host rests as long as it must
        else:
            job.attempts += 1
            self._held += 1

            def again() -> None:
                self._held -= 1
                self._queue(job)

            self._later(pause, again)

    def _pause(self, job: HostJob) -> float:
        """Seconds before the next try of an image; they double with each, and vary by half."""
        pause = self._settings.pause * 2.0 ** min(job.attempts - 1, 30)
        return min(pause * random.uniform(0.5, 1.5), self._settings.max_pause)

    def _is_closed(self, name: str, failure: Refusal) -> bool:
        """Whether a host only ever refuses; whoever waits for it is then given up."""
        assert self._loop is not None
        host = self._hosts.get(name)
        if host is None or not host.is_closed(self._loop.time()):
            return False
        message = f"the host has answered nothing else for {self._settings.deadline:.0f} s"
        while len(host):
            job = host.pop()
            self._held -= 1
            lost = Failed(
                job.item.position, name, replace(failure, detail=message), job.attempts - 1
            )
            self._done(job.item, lost)
        return True
