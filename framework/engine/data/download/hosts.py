"""Who waits for a host, and how fast it is asked: as the limits allow, or as it bears.

A host that answers 429 or 503 is asked at half the rate, with half the connections, and not at all
for a while (additive increase, multiplicative decrease: Chiu and Jain, 1989). Each other answer
brings it back a little. Nothing here waits or knows a clock: times are given, in seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass

from yarl import URL

from engine.data.download.outcome import Item, Refusal
from engine.data.download.settings import DownloadSettings

_FIRST_RATE = 5.0
"""Requests a second after a first burst that was refused. The rate before it says nothing, since
the first requests leave all at once."""

_SLOWEST_PLAIN = 0.5
"""Requests a second, at least, of a host that answers 503 and says nothing of waiting."""

_FREE_RATE = 200.0
"""Requests a second from which on there is no limit any more."""

_GAIN = 0.1
"""Requests a second that an answer adds; below one a second, such a part of the rate."""

_CUT, _LITTLE_CUT = 0.5, 0.8

_SEVERAL = 5
"""Images that a host must refuse, one after another, before it is taken to refuse all."""

_SLACK = 0.05
"""Seconds that a request may come early because the one before was late."""

_WATCHED = 16
"""Requests and answers that are remembered."""


class Pace:
    """One host's pace.

    Args:
        settings: the limits.

    Attributes:
        active: requests under way.
        window: requests at once; between whole numbers while it grows.
        rate: requests a second; infinite as long as the host never complained.
        answered_at: when it last gave an answer that was not a refusal.
        slowed_at: when it was last slowed down.
        refused_images: different images that it refused since it gave an answer.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self.active = 0
        self.window = float(settings.per_host)
        self.rate = float("inf")
        self.answered_at = self.slowed_at = float("-inf")
        self._next = self._rest_until = 0.0
        self._slowed_in_a_row = self.refused_images = 0
        self._refused_since: float | None = None
        self._begun: deque[float] = deque(maxlen=_WATCHED)
        self._refusals: deque[bool] = deque(maxlen=_WATCHED)

    def has_room(self) -> bool:
        """Whether one more request may be under way, at some moment."""
        return self.active < max(1, int(self.window))

    def wait(self, now: float) -> float:
        """Seconds until the next request may begin, where there is room; 0 is at once."""
        return max(0.0, self._next - now, self._rest_until - now)

    def begin(self, now: float) -> None:
        """A request begins."""
        self.active += 1
        self._begun.append(now)
        if not self.is_free():
            self._next = max(self._next, now - _SLACK) + 1 / self.rate

    def end(self) -> None:
        """A request has ended, whatever came of it."""
        self.active -= 1

    def answered(self, now: float) -> None:
        """The host gave an answer that was not a refusal: it can bear a little more."""
        self.answered_at = now
        self._refusals.append(False)
        self._refused_since = None
        self._slowed_in_a_row = self.refused_images = 0
        self.window = min(self.window + 1 / self.window, float(self._settings.per_host))
        self.rate += _GAIN * min(1.0, self.rate)
        if self.rate > _FREE_RATE:
            self.rate = float("inf")

    def refused(self, begun: float, now: float, retry_after: float, *, plain: bool) -> None:
        """The host asks for fewer requests.

        Args:
            begun: when the request that it refused began. Refusals of requests that were under
                way together slow it down once.
            now: the time.
            retry_after: seconds that it asks to wait, or 0.
            plain: a 503 that does not speak of waiting: the host may be broken in part. Where it
                is one among many answers, it slows the host down by a little.
        """
        if self._refused_since is None:
            self._refused_since = now
        little = plain and len(self._refusals) == _WATCHED and not any(self._refusals)
        self._refusals.append(True)
        if begun >= self.slowed_at:
            self._slow_down(now, _LITTLE_CUT if little else _CUT, plain)
            if not retry_after:
                pause = self._settings.pause * 2.0 ** min(self._slowed_in_a_row - 1, 30)
                self.rest(now, min(pause * random.uniform(0.5, 1.5), self._settings.max_pause))
        self.rest(now, retry_after)

    def _slow_down(self, now: float, cut: float, plain: bool) -> None:
        rate = self._measured(now) if self.is_free() else self.rate
        slowest = 1 / max(self._settings.max_pause, 1.0)
        if plain:
            slowest = max(slowest, min(_SLOWEST_PLAIN, rate))
        maximum = _FIRST_RATE if self.is_free() and cut < _LITTLE_CUT else float("inf")
        self.rate = max(min(rate * cut, maximum), slowest)
        self.window = max(1.0, self.window * cut)
        self._slowed_in_a_row += 1
        self.slowed_at = now

    def rest(self, now: float, seconds: float) -> None:
        """Ask for nothing for a while; no longer than an image may take in all."""
        seconds = min(seconds, self._settings.deadline)
        self._rest_until = max(self._rest_until, now + seconds)

    def has_answered(self) -> bool:
        """Whether it ever gave an answer that was not a refusal."""
        return self.answered_at > float("-inf")

    def is_in_doubt(self) -> bool:
        """Whether it was slowed down again without an answer between."""
        return self._slowed_in_a_row > 1

    def is_free(self) -> bool:
        """Whether nothing but the settings limits its rate."""
        return self.rate == float("inf")

    def is_forgettable(self) -> bool:
        """Whether a new one would do as well."""
        whole = self.window >= self._settings.per_host
        return not self.active and whole and self.is_free() and self._refused_since is None

    def is_hopeless(self, now: float) -> bool:
        """Whether it has given nothing but refusals for as long as an image may take in all."""
        since = self._refused_since
        return since is not None and now - since >= self._settings.deadline

    def _measured(self, now: float) -> float:
        """Requests a second that began recently."""
        return len(self._begun) / max(now - self._begun[0], 1e-3) if self._begun else _FIRST_RATE


@dataclass(eq=False)
class HostJob:
    """An image on its way.

    Attributes:
        item: the image.
        url: where it is looked for now.
        hops: redirects so far.
        attempts: requests that count as tries of this image, the next one included.
        deadline: when it is given up; known from its first request on.
        begun: when its place at the host was taken.
        queued: since when it waits only because others are before it at its host.
        failure: what the last request came to, where it is to be made again.
        refused: when its host last refused it.
        alone: times that its host refused it, and had answered others since the time before.
    """

    item: Item
    url: URL
    hops: int = 0
    attempts: int = 1
    deadline: float | None = None
    begun: float = 0.0
    queued: float = 0.0
    failure: Refusal | None = None
    refused: float = float("inf")
    alone: int = 0

    @property
    def host(self) -> str:
        """Of the URL it is at now."""
        return self.url.host or ""


class Host:
    """A host's pace, and who waits for it.

    Chance decides between those whose deadline is running and those that were never asked for: the
    first are in a hurry, but a host may refuse some of them each time. While it has refused twice
    and given no answer, only the others tell whether it refuses them all.
    """

    def __init__(self, settings: DownloadSettings) -> None:
        self.pace = Pace(settings)
        self.begun: deque[HostJob] = deque()
        self.fresh: deque[HostJob] = deque()
        self.timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.begun) + len(self.fresh)

    def add(self, job: HostJob) -> None:
        """Stand in line."""
        (self.fresh if job.deadline is None else self.begun).append(job)

    def pop(self) -> HostJob:
        """The next in line."""
        hurry = random.random() < 0.5 and not self.pace.is_in_doubt()
        line = self.begun if self.begun and (hurry or not self.fresh) else self.fresh
        return line.popleft()

    def is_closed(self, now: float) -> bool:
        """Whether there is no use in asking it: it refuses whatever is asked, for long enough."""
        several = self.pace.refused_images >= _SEVERAL or not self.fresh
        return several and self.pace.is_hopeless(now)
