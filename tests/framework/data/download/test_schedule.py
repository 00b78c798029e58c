"""Retries, pauses, limits a host: by requests that a test counts."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from yarl import URL

from engine.data.download.fetch import Body, Redirect
from engine.data.download.headers import seconds_to_wait
from engine.data.download.outcome import Cause, Downloaded, Failed, Item, Refusal
from engine.data.download.schedule import Scheduler
from engine.data.download.settings import DownloadSettings
from engine.data.download.urls import parse

from .conftest import QUICK, Lists, Request, Server, picture


class Net:
    """Answers from a script; notes the order, the moments and the most at once a host."""

    def __init__(
        self, answers: dict[str, list[Body | Redirect | Refusal]], takes: float = 0
    ) -> None:
        self.answers, self.takes = answers, takes
        self.asked: list[tuple[str, float]] = []
        self.now: dict[str, int] = {}
        self.maximum: dict[str, int] = {}

    async def get(self, url: URL, seconds: float) -> Body | Redirect | Refusal:
        self.asked.append((str(url), asyncio.get_running_loop().time()))
        host = url.host or ""
        self.now[host] = self.now.get(host, 0) + 1
        self.maximum[host] = max(self.maximum.get(host, 0), self.now[host])
        await asyncio.sleep(min(self.takes, seconds))
        self.now[host] -= 1
        script = self.answers.get(str(url), [Body(b"x")])
        return script.pop(0) if len(script) > 1 else script[0]


def go(
    net: Net, urls: list[str], settings: DownloadSettings = QUICK
) -> dict[int, Downloaded | Failed]:
    found: dict[int, Downloaded | Failed] = {}

    async def decode(item: Item, body: Body) -> Downloaded | Refusal:
        await asyncio.sleep(0)
        return Downloaded(item.position, 1, 1, 1, bytes(32))

    def done(item: Item, result: Downloaded | Failed) -> None:
        assert item.position not in found
        found[item.position] = result

    async def run() -> None:
        items = (Item(i, str(i), url) for i, url in enumerate(urls, 1))
        await Scheduler(settings, items, net.get, decode, done, backlog=8).run()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert len(found) == len(urls)
    return found


def test_retries_stop_at_success_and_at_the_limit() -> None:
    passing = Refusal("HTTP 503", may_pass=True)
    net = Net({"http://a/1": [passing, passing, Body(b"x")], "http://a/2": [passing]})
    found = go(net, ["http://a/1", "http://a/2"], replace(QUICK, retries=2))
    assert isinstance(found[1], Downloaded)
    assert isinstance(found[2], Failed)
    assert found[2].attempts == 3
    assert len(net.asked) == 6


def test_pauses_grow() -> None:
    net = Net({"http://a/1": [Refusal("HTTP 503", may_pass=True)]})
    go(net, ["http://a/1"], replace(QUICK, retries=3, pause=0.1))
    moments = [moment for _, moment in net.asked]
    for number, (before, after) in enumerate(itertools.pairwise(moments)):
        assert after - before >= 0.05 * 2**number


def test_the_limit_of_a_host_holds_for_retries_and_redirects_too() -> None:
    answers: dict[str, list[Body | Redirect | Refusal]] = {
        f"http://b/{i}": [Redirect(URL(f"http://a/r{i}"))] for i in range(10)
    }
    answers |= {f"http://a/{i}": [Refusal("x", may_pass=True), Body(b"x")] for i in range(0, 30, 3)}
    net = Net(answers, takes=0.005)
    urls = [f"http://a/{i}" for i in range(30)] + [f"http://b/{i}" for i in range(10)]
    found = go(net, urls, replace(QUICK, per_host=3))
    assert all(isinstance(result, Downloaded) for result in found.values())
    assert net.maximum == {"a": 3, "b": 3}


def test_a_slow_host_holds_up_nobody_else() -> None:
    """More images wait for one host than connections there are; others go on meanwhile."""

    class Uneven(Net):
        async def get(self, url: URL, seconds: float) -> Body | Redirect | Refusal:
            self.takes = 0.05 if url.host == "slow" else 0
            return await super().get(url, seconds)

    net = Uneven({})
    urls = [f"http://slow/{i}" for i in range(20)] + [f"http://h{i}/" for i in range(20)]
    go(net, urls, replace(QUICK, per_host=1, connections=4))
    order = [url for url, _ in net.asked]
    assert order.index("http://h19/") < order.index("http://slow/5")


def test_the_source_is_read_no_further_than_needed() -> None:
    taken = [0]

    async def run() -> None:
        def source() -> Iterator[Item]:
            for i in range(1, 100_000):
                taken[0] = i
                yield Item(i, str(i), "http://one/")

        async def get(url: URL, seconds: float) -> Body:
            await asyncio.sleep(3600)
            return Body(b"")

        async def decode(item: Item, body: Body) -> Refusal:
            return Refusal("never")

        scheduler = Scheduler(QUICK, source(), get, decode, lambda i, r: None, backlog=4)
        task = asyncio.create_task(scheduler.run())
        await asyncio.sleep(0.2)
        scheduler.stop()
        await task

    asyncio.run(run())
    assert taken[0] <= 4096 + QUICK.per_host + 1


def test_the_deadline_of_an_image() -> None:
    net = Net({"http://a/1": [Refusal("HTTP 503", may_pass=True)]}, takes=0.1)
    found = go(net, ["http://a/1"], replace(QUICK, retries=100, pause=0.05, deadline=0.5))
    assert isinstance(found[1], Failed)
    assert len(net.asked) < 8


def test_a_fault_of_the_taker_ends_the_run() -> None:
    async def run() -> None:
        def done(item: Item, result: Downloaded | Failed) -> None:
            raise OSError("disk")

        async def decode(item: Item, body: Body) -> Refusal:
            return Refusal("x")

        items = (Item(i, str(i), f"http://a/{i}") for i in range(1, 50))
        await Scheduler(QUICK, items, Net({}).get, decode, done, backlog=4).run()

    with pytest.raises(OSError, match="disk"):
        asyncio.run(asyncio.wait_for(run(), 20))


def test_retry_after_is_honoured(server: Server, lists: Lists) -> None:
    """The whole host rests as long as it asked; more than the bound ends the image."""
    moments: list[float] = []

    async def busy(request: Request) -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            await request.send(b"", "429 Too Many Requests", {"Retry-After": "1"})
        else:
            await request.send(picture())

    async def long(request: Request) -> None:
        await request.send(b"", "503 Busy", {"Retry-After": "3600"})

    server.answers |= {"busy": busy, "long": long}
    lists.write({"busy": server.url("busy"), "long": server.url("long", "localhost")})
    lists.run(replace(QUICK, retries=1, pause=0.01, max_pause=5))
    assert moments[1] - moments[0] >= 1
    assert {id_: kind for id_, (kind, _) in lists.failures().items()} == {"long": "HTTP 503"}
    assert server.seen["long"] == 1


@pytest.mark.parametrize(
    ("text", "minimum", "maximum"),
    [("5", 5, 5), (" 0 ", 0, 0), ("", 0, 0), ("soon", 0, 0), ("-3", 0, 0), ("9" * 30, 0, 0),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("Mon, 99 Foo 99999 99:99:99", 0, 0)],
)  # fmt: skip
def test_retry_after_is_read(text: str, minimum: float, maximum: float) -> None:
    assert minimum <= seconds_to_wait(text) <= maximum


def test_retry_after_may_be_a_date() -> None:
    coming = datetime.now(UTC) + timedelta(seconds=500)
    assert 300 <= seconds_to_wait(format_datetime(coming)) <= 500


@pytest.mark.parametrize(
    ("url", "base", "wanted"),
    [("http://a/b c", None, "http://a/b%20c"), ("//b/x", "https://a/", "https://b/x"),
     ("../x", "http://a/b/c/d", "http://a/b/x"), ("http://A.example/#f", None, "http://a.example/"),
     ("http://пример.рф/я", None, "http://xn--e1afmkfd.xn--p1ai/%D1%8F")],
)  # fmt: skip
def test_addresses_are_read(url: str, base: str | None, wanted: str) -> None:
    assert str(parse(url, URL(base) if base else None)) == wanted


@pytest.mark.parametrize(
    "url", ["", "x", "file:///etc/passwd", "http://", "http://:80/", "http://a:0/", "http://a:70000/",
            "gopher://a/", "data:image/png;base64,AAAA", "http://[::1", "\x00", "http://a b/"],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    found = parse(url)
    assert isinstance(found, Refusal)
    assert found.kind == Cause.BAD_URL
