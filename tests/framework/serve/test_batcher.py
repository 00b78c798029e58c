"""Batches: every item is computed once, for whoever waits for it, and never more than fit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.serve.admission import Admission
from engine.serve.batcher import Batcher
from engine.serve.encoder import Recent, shorten
from engine.serve.faults import Fault


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), max_size=7), max_size=12), st.integers(1, 5))
def test_every_request_gets_its_own_rows(requests: list[list[int]], size: int) -> None:
    batches: list[int] = []

    def compute(items: Sequence[int]) -> NDArray[np.float32]:
        batches.append(len(items))
        return np.array([[item, -item] for item in items], np.float32)

    async def run() -> None:
        batcher: Batcher[int] = Batcher(compute, size)
        batcher.start()
        until = time.monotonic() + 60
        found = await asyncio.gather(*(batcher.compute(items, until) for items in requests))
        await batcher.stop()
        for items, rows in zip(requests, found, strict=True):
            assert [row.tolist() for row in rows] == [[item, -item] for item in items]

    asyncio.run(run())
    assert sum(batches) == sum(map(len, requests))
    assert max(batches, default=0) <= size


def test_what_nobody_waits_for_is_not_computed() -> None:
    go, seen = threading.Event(), []

    def compute(items: Sequence[str]) -> NDArray[np.float32]:
        seen.extend(items)
        go.wait(20)
        return np.zeros((len(items), 1), np.float32)

    async def run() -> None:
        batcher: Batcher[str] = Batcher(compute, 1)
        batcher.start()
        until = time.monotonic() + 60
        first = asyncio.ensure_future(batcher.compute(["first"], until))
        await asyncio.sleep(0.1)
        left = asyncio.ensure_future(batcher.compute(["left"], until))
        last = asyncio.ensure_future(batcher.compute(["last"], until))
        late = asyncio.ensure_future(batcher.compute(["late"], time.monotonic()))
        await asyncio.sleep(0.1)
        left.cancel()
        go.set()
        await first
        await last
        with pytest.raises(Fault, match="deadline"):
            await late
        await batcher.stop()

    asyncio.run(run())
    assert seen == ["first", "last"]


def test_admission() -> None:
    admission = Admission(5, "things")
    with admission.take(3):
        with pytest.raises(Fault) as caught, admission.take(3):
            pass
        assert (caught.value.status, caught.value.retry) == (429, 1)
        with pytest.raises(Fault) as never, admission.take(6):
            pass
        assert never.value.status == 413
        with admission.take(2):
            assert admission.taken == 5
    assert admission.taken == 0
    assert 1 <= admission.wait() <= 60


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6))), st.integers(0, 4))
def test_recent_keeps_what_was_used_last(steps: list[tuple[bool, int]], size: int) -> None:
    recent: Recent[int, int] = Recent(size)
    used: list[int] = []
    for put, key in steps:
        if put:
            recent.put(key, key + 1)
            used = [each for each in used if each != key] + [key]
        elif recent.get(key) is not None:
            used = [each for each in used if each != key] + [key]
        used = used[-size:] if size else []
        assert len(recent) == len(used)
    assert all(recent.get(key) == key + 1 for key in list(used))


def test_shorten() -> None:
    rows = np.array([[0.6, 0.0, 0.8], [0.0, 0.0, 1.0]], np.float32)
    assert shorten(rows, None) is rows
    np.testing.assert_allclose(shorten(rows, 2), [[1, 0], [0, 0]])
