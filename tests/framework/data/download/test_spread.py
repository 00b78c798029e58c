"""Over Ray: the same result as without. One cluster on this machine serves all tests."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from engine.data.download import spread
from engine.data.download.outcome import Failed, Item
from engine.data.download.run import DownloadProgress
from engine.data.verify import verify

from .conftest import QUICK, Lists, Server, picture


def serve(server: Server, lists: Lists, count: int) -> None:
    for i in range(count):
        if i % 6 != 2:
            server.answers[str(i)] = picture(i, (90, 70))
    lists.write({i: server.url(str(i)) for i in range(count)})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_the_same_result(
    ray_cluster: Any, server: Server, lists: Lists, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "CHUNK", 25)
    serve(server, lists, 120)
    settings = replace(QUICK, format=kind, shard_size=30)
    lists.out = lists.folder / "here"
    lists.run(settings)
    here = lists.content()
    lists.out = lists.folder / "ray"
    report = lists.run(settings, on_ray=True).report
    assert report["images"] == {"listed": 120, "downloaded": 100, "failed": 20, "left": 0}
    assert lists.content() == here
    assert verify(lists.out).whole


@pytest.mark.slow
def test_a_stop_and_going_on(
    ray_cluster: Any, server: Server, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped over Ray, gone on with here: still the same."""
    monkeypatch.setattr(spread, "CHUNK", 10)
    serve(server, lists, 150)
    settings = replace(QUICK, shard_size=40)
    lists.out = lists.folder / "here"
    lists.run(settings)
    here = lists.content()
    stopped: list[bool] = []

    def watch(progress: DownloadProgress) -> None:
        if progress.fresh and not stopped:
            stopped.append(True)
            signal.raise_signal(signal.SIGTERM)

    lists.out = lists.folder / "ray"
    outcome = lists.run(settings, on_ray=True, watch=watch, every=0.01)
    assert outcome.signal == signal.SIGTERM
    assert 0 < outcome.report["images"]["left"] < 150
    lists.run(settings)
    assert lists.content() == here


def test_a_chunk_by_itself(server: Server) -> None:
    """What a task does, without Ray: results in the order of the items, JPEGs with them."""
    server.answers |= {"1": picture(1), "3": picture(3)}
    items = [Item(i, str(i), server.url(str(i))) for i in (3, 2, 1)]
    three, two, one = spread.fetch_chunk(QUICK, items)
    assert isinstance(two, Failed)
    assert two.failure.kind == "HTTP 404"
    found: list[Any] = [three, one]
    assert [downloaded.data for downloaded in found] == [picture(3), picture(1)]
