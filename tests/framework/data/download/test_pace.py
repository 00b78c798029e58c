"""Hosts that allow so many requests a second: every image arrives, and other hosts wait for none.

Time is the loop's own, which jumps to the next moment at which anything happens: hours pass in
milliseconds.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from engine.data.download.fetch import Body, Redirect, _refused
from engine.data.download.hosts import Pace
from engine.data.download.outcome import Downloaded, Failed, Item, Refusal
from engine.data.download.schedule import Scheduler
from engine.data.download.settings import DownloadSettings

from .conftest import QUICK, Lists, Request, Server, picture

DEFAULT = DownloadSettings()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Sleeps by setting its clock forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            events = select(0)
            if not events and timeout:
                self.now += timeout
            return events

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now


class Limiter:
    """A host that allows ``rate`` requests a second, counted in one of the usual ways."""

    def __init__(self, rate: float, how: str, refusal: Refusal, takes: float = 0.05) -> None:
        self.rate, self.how, self.refusal, self.takes = rate, how, refusal, takes
        self.tokens, self.last, self.seen = max(1.0, rate), float("-inf"), deque[float]()
        self.asked = self.refused = self.now = 0

    def allows(self, now: float) -> bool:
        self.asked += 1
        allowed = getattr(self, self.how)(now)
        self.refused += not allowed
        return bool(allowed)

    def window(self, now: float) -> bool:
        """So many in each second of the clock."""
        if int(now) != self.last:
            self.last, self.tokens = int(now), self.rate
        self.tokens -= 1
        return self.tokens >= 0

    def bucket(self, now: float) -> bool:
        """A bucket of tokens."""
        gained = 0 if self.last < 0 else (now - self.last) * self.rate
        self.tokens, self.last = min(max(1.0, self.rate), self.tokens + gained), now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def strict(self, now: float) -> bool:
        """No two closer than that (nginx without a burst)."""
        if now - self.last < 1 / self.rate - 1e-9:
            return False
        self.last = now
        return True

    def sliding(self, now: float) -> bool:
        """So many in any second; with refused ones counted too."""
        while self.seen and now - self.seen[0] > 1:
            self.seen.popleft()
        self.seen.append(now)
        return len(self.seen) <= self.rate


class Web:
    """Hosts, and where redirects lead."""

    def __init__(self, hosts: dict[str, Limiter], redirects: dict[str, str] | None = None) -> None:
        self.hosts, self.redirects = hosts, redirects or {}
        self.ended: dict[str, float] = {}
        self.results: dict[str, Downloaded | Failed] = {}
        self.broken: Callable[[str], bool] = lambda url: False

    def download(
        self, urls: list[str], choices: DownloadSettings = DEFAULT, maximum: float = 1e6
    ) -> float:
        """Seconds that it took by the virtual clock."""
        loop = VirtualLoop()

        async def get(url: URL, seconds: float) -> Body | Redirect | Refusal:
            if str(url) in self.redirects:
                await asyncio.sleep(0.02)
                return Redirect(URL(self.redirects[str(url)]))
            host = self.hosts.get(url.host or "")
            if host is None:
                await asyncio.sleep(0.02)
                return Body(b"x")
            host.now += 1
            await asyncio.sleep(host.takes * random.uniform(0.5, 1.5))
            host.now -= 1
            if self.broken(str(url)) or not host.allows(loop.time()):
                return host.refusal
            return Body(b"x")

        async def decode(item: Item, body: Body) -> Downloaded | Refusal:
            return Downloaded(item.position, 1, 1, 1, bytes(32))

        def done(item: Item, result: Downloaded | Failed) -> None:
            assert item.url not in self.results
            self.results[item.url] = result
            self.ended[item.url] = loop.time()

        async def run() -> None:
            items = (Item(i, str(i), url) for i, url in enumerate(urls, 1))
            scheduler = Scheduler(choices, items, get, decode, done, backlog=8)
            await asyncio.wait_for(scheduler.run(), maximum)

        try:
            loop.run_until_complete(run())
            return loop.now
        finally:
            loop.close()

    def kinds(self) -> Counter[str]:
        """Results by kind."""
        return Counter(
            "downloaded" if isinstance(result, Downloaded) else result.failure.kind
            for result in self.results.values()
        )


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Pauses vary by chance: the same chance in each run."""
    state = random.getstate()
    random.seed(20260801)
    yield
    random.setstate(state)


REFUSALS = {
    "429": _refused(429, None), "429, 1 s": _refused(429, "1"), "429, 0 s": _refused(429, "0"),
    "429, absurd": _refused(429, "1000000000"), "429, longer": _refused(429, "9" * 40),
    "429, past": _refused(429, "Wed, 21 Oct 2015 07:28:00 GMT"), "429, no time": _refused(429, "x"),
    "503": _refused(503, None), "503, 2 s": _refused(503, "2"), "503, past": _refused(503, "-5"),
}  # fmt: skip


@pytest.mark.parametrize("how", ["window", "bucket", "strict", "sliding"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize(("rate", "maximum"), [(5, 200), (1, 600), (50, 60)])
def test_every_image_of_a_limited_host_arrives(
    refusal: Refusal, how: str, rate: float, maximum: float
) -> None:
    """200 images, as fast as four times the ideal at the least; few requests are in vain."""
    host = Limiter(rate, how, refusal)
    web = Web({"a": host})
    assert web.download([f"http://a/{i}" for i in range(200)]) < maximum
    assert web.kinds() == {"downloaded": 200}
    assert host.refused < 80


def test_a_very_slow_host() -> None:
    """One request in twenty seconds: that others are before an image is not its own time."""
    web = Web({"a": Limiter(0.05, "strict", _refused(429, None))})
    web.download([f"http://a/{i}" for i in range(60)])
    assert web.kinds() == {"downloaded": 60}


@pytest.mark.parametrize("per_host", [1, 2, 128])
@pytest.mark.parametrize("refusal", ["429", "503", "503, 2 s"])
def test_any_number_of_connections(per_host: int, refusal: str) -> None:
    web = Web({"a": Limiter(5, "bucket", REFUSALS[refusal])})
    choices = replace(DEFAULT, per_host=per_host, retries=1)
    web.download([f"http://a/{i}" for i in range(200)], choices)
    assert web.kinds() == {"downloaded": 200}


def test_429_needs_no_retries() -> None:
    web = Web({"a": Limiter(5, "window", REFUSALS["429"])})
    web.download([f"http://a/{i}" for i in range(100)], replace(DEFAULT, retries=0))
    assert web.kinds() == {"downloaded": 100}


def test_several_hosts_at_once() -> None:
    """Each at its own pace; who is not limited is done at once."""
    limited = {
        "a": Limiter(5, "bucket", REFUSALS["429"]), "b": Limiter(5, "sliding", REFUSALS["503"]),
        "c": Limiter(1, "window", REFUSALS["429, 1 s"]),
    }  # fmt: skip
    web = Web(limited)
    urls = [f"http://{h}/{i}" for i in range(200) for h in (*limited, "fast", "faster")]
    web.download(urls)
    assert web.kinds() == {"downloaded": 1000}
    assert max(web.ended[url] for url in urls if "fast" in url) < 1
    slow = {
        h: max(web.ended[url] for url in urls if url.startswith(f"http://{h}/")) for h in limited
    }
    assert slow["a"] < 100 < slow["c"]


def test_a_limited_host_behind_redirects() -> None:
    """The images wait for the second host with their deadlines running for themselves alone."""
    web = Web(
        {"a": Limiter(5, "bucket", REFUSALS["429"])},
        {f"http://r/{i}": f"http://a/{i}" for i in range(1000)},
    )
    assert web.download(list(web.redirects)) > DEFAULT.deadline
    assert web.kinds() == {"downloaded": 1000}


@pytest.mark.parametrize("refusal", ["429", "429, 1 s", "503", "503, 2 s"])
def test_a_host_that_only_refuses_is_given_up(refusal: str) -> None:
    """Within about the deadline of one image, with few requests, and nobody else waits."""
    host = Limiter(1, "strict", REFUSALS[refusal])
    web = Web({"a": host})
    web.broken = lambda url: url.startswith("http://a/")
    urls = [f"http://a/{i}" for i in range(2000)] + [f"http://b/{i}" for i in range(200)]
    assert web.download(urls) < 2 * DEFAULT.deadline
    assert web.kinds() == {"downloaded": 200, refusal[:3].join(("HTTP ", "")): 2000}
    assert host.asked < 120
    assert max(web.ended[url] for url in urls if "//b/" in url) < 2


def test_a_host_that_asks_for_an_hour() -> None:
    """No image may take as long: who asked is given up at once, the rest after one more try."""
    host = Limiter(1, "strict", _refused(429, "3600"))
    web = Web({"a": host})
    web.broken = lambda url: True
    assert web.download([f"http://a/{i}" for i in range(500)]) < 2 * DEFAULT.deadline
    assert web.kinds() == {"HTTP 429": 500}
    assert host.asked < 20


def test_retry_after_is_kept() -> None:
    """Longer than any pause of ours, and shorter than the deadline: nothing is asked before."""
    moments: list[float] = []

    class Once(Limiter):
        def allows(self, now: float) -> bool:
            moments.append(now)
            return len(moments) > 1

    web = Web({"a": Once(1, "strict", _refused(429, "60"))})
    web.download(["http://a/0"], replace(DEFAULT, max_pause=5))
    assert web.kinds() == {"downloaded": 1}
    assert moments[1] - moments[0] >= 60


@pytest.mark.parametrize("refusal", ["429", "503"])
@pytest.mark.parametrize("share", [2, 5, 20])
def test_images_that_are_always_refused_cost_nobody_else(share: int, refusal: str) -> None:
    """A host that is broken in part: the others arrive."""
    host = Limiter(1000, "bucket", REFUSALS[refusal])
    web = Web({"a": host})
    web.broken = lambda url: int(url.rpartition("/")[2]) % share == 0
    web.download([f"http://a/{i}" for i in range(200)])
    assert web.kinds() == {"downloaded": 200 - 200 // share, f"HTTP {refusal}": 200 // share}


def test_one_broken_image_hardly_slows_a_host() -> None:
    host = Limiter(10_000, "bucket", REFUSALS["503"])
    web = Web({"a": host})
    web.broken = lambda url: url == "http://a/500"
    assert web.download([f"http://a/{i}" for i in range(1000)]) < 60
    assert web.kinds() == {"downloaded": 999, "HTTP 503": 1}


def test_fewer_connections_and_back() -> None:
    """Halved at each refusal of what was begun since; an answer brings a part of one back."""
    pace = Pace(DEFAULT)
    for number in range(8):
        pace.begin(0.001 * number)
    assert not pace.has_room()
    for number in range(8):  # one burst: it counts once
        pace.end()
        pace.refused(0.001 * number, 0.1, 0.0, plain=False)
    assert (pace.window, pace.rate) == (4, 5.0)
    now = 0.1 + pace.wait(0.1)
    assert now > 0.5
    pace.begin(now)
    pace.end()
    pace.refused(now, now + 0.1, 20.0, plain=False)
    assert (pace.window, pace.rate, pace.wait(now + 0.1)) == (2, 2.5, 20.0)
    windows = []
    for number in range(4000):
        pace.answered(now + number)
        windows.append(pace.window)
    assert windows == sorted(windows)
    assert windows[:3] != windows[1:4]
    assert (pace.window, pace.is_free(), pace.is_forgettable()) == (8, True, True)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e6), st.floats(0, 50)), max_size=80))
def test_a_pace_stays_within_bounds(events: list[tuple[int, float, float]]) -> None:
    pace, now = Pace(DEFAULT), 0.0
    for what, retry_after, seconds in events:
        now += seconds
        if what == 0 and pace.has_room():
            pace.begin(now)
        elif what == 1:
            pace.answered(now)
        elif what == 2:
            pace.refused(now, now, retry_after, plain=bool(retry_after))
        elif pace.active:
            pace.end()
        assert 1 <= pace.window <= DEFAULT.per_host
        assert pace.rate >= 1 / DEFAULT.max_pause * 0.999
        assert 0 <= pace.wait(now) <= DEFAULT.deadline + DEFAULT.max_pause


def test_hosts_in_memory_are_bounded() -> None:
    """Of very many limited hosts, those of which nothing is wanted any more are forgotten."""
    from engine.data.download import schedule

    async def get(url: URL, seconds: float) -> Body | Refusal:
        return REFUSALS["429"] if random.random() < 0.5 else Body(b"x")

    async def decode(item: Item, body: Body) -> Downloaded:
        return Downloaded(item.position, 1, 1, 1, bytes(32))

    async def run() -> int:
        items = (Item(i, str(i), f"http://h{i}/") for i in range(1, 2000))
        scheduler = Scheduler(DEFAULT, items, get, decode, lambda i, r: None, backlog=8)
        await scheduler.run()
        return len(scheduler._hosts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "_REMEMBERED", 300)
        loop = VirtualLoop()
        try:
            assert loop.run_until_complete(run()) <= 301
        finally:
            loop.close()


@pytest.mark.parametrize("status", ["429 Too Many", "503 Busy"])
def test_over_the_wire(server: Server, lists: Lists, status: str) -> None:
    """A real server that allows 30 requests a second, and 60 images."""
    seen: deque[float] = deque()
    refused = [0]

    async def limited(request: Request) -> None:
        now = time.monotonic()
        while seen and now - seen[0] > 1:
            seen.popleft()
        if len(seen) >= 30:
            refused[0] += 1
            await request.send(b"", status)
            return
        seen.append(now)
        await request.send(picture(1))

    for i in range(60):
        server.answers[str(i)] = limited
    lists.write({i: server.url(str(i)) for i in range(60)})
    report = lists.run(replace(QUICK, retries=2, pause=0.3, deadline=60)).report
    assert report["images"]["downloaded"] == 60
    assert 0 < refused[0] < 60
