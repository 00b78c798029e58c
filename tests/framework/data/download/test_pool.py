"""Decoding processes: what they answer, and what a dead or stuck one costs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from engine.data.download import pool as pools
from engine.data.download.fetch import Body
from engine.data.download.outcome import Cause, Downloaded, Refusal
from engine.data.download.pool import Pool
from engine.errors import DataError

from .conftest import QUICK, picture


def with_pool(work: Callable[[Pool], Awaitable[Any]], workers: int = 1) -> Any:
    async def run() -> Any:
        async with Pool(replace(QUICK, workers=workers)) as pool:
            return await work(pool)

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_results(tmp_path: Path) -> None:
    async def work(pool: Pool) -> list[Downloaded | Refusal]:
        return await asyncio.gather(
            pool.decode(1, Body(picture(1, (200, 100))), tmp_path / "1.jpg"),
            pool.decode(2, Body(b"<html>"), tmp_path / "2.jpg"),
            pool.decode(3, Body(picture(3)), None),
        )

    downloaded, lost, back = with_pool(work)
    data = (tmp_path / "1.jpg").read_bytes()
    assert (downloaded.width, downloaded.height, downloaded.size) == (128, 64, len(data))
    assert downloaded.sha256 == sha256(data).digest()
    assert lost == Refusal(
        Cause.NOT_IMAGE, "does not decode: it is a web page or XML, not an image"
    )
    assert not (tmp_path / "2.jpg").exists()
    # A JPEG that is small enough keeps its own bytes.
    assert back.data == picture(3)


def test_many_pictures_over_two_processes(tmp_path: Path) -> None:
    async def work(pool: Pool) -> list[Downloaded | Refusal]:
        return await asyncio.gather(
            *(pool.decode(i, Body(picture(i)), tmp_path / f"{i}.jpg") for i in range(200))
        )

    found = with_pool(work, workers=2)
    assert [downloaded.position for downloaded in found] == list(range(200))
    assert all((tmp_path / f"{i}.jpg").read_bytes() == picture(i) for i in range(0, 200, 17))


def stop_while_working(pool: Pool, number: int) -> int:
    """Stop a process that is at a picture, for good (it cannot go on meanwhile)."""
    process = next(p for p in pool._processes if p.held)
    os.kill(process.process.pid, number)
    return process.process.pid


def test_a_dead_process_costs_nothing_the_first_time(tmp_path: Path) -> None:
    async def work(pool: Pool) -> list[Downloaded | Refusal]:
        futures = [pool.decode(i, Body(picture(i)), tmp_path / f"{i}.jpg") for i in range(6)]
        stop_while_working(pool, signal.SIGKILL)
        return await asyncio.gather(*futures)

    assert [downloaded.position for downloaded in with_pool(work)] == list(range(6))


def test_a_picture_that_kills_twice_is_lost_alone(tmp_path: Path) -> None:
    async def work(pool: Pool) -> list[Downloaded | Refusal]:
        stop = next(iter(pool._processes)).process
        os.kill(stop.pid, signal.SIGSTOP)  # so that it is surely at the first picture
        futures = [pool.decode(i, Body(picture(i)), tmp_path / f"{i}.jpg") for i in range(4)]
        stop.kill()
        # The next process is killed at its first picture too, before it can have started.
        while stop in [p.process for p in pool._processes] or not pool._processes:
            await asyncio.sleep(0)
        next(iter(pool._processes)).process.kill()
        return await asyncio.gather(*futures)

    first, *others = with_pool(work)
    assert first == Refusal(Cause.DIED, "by signal 9")
    assert [downloaded.position for downloaded in others] == [1, 2, 3]


def test_a_stuck_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_STUCK_AFTER", 0.1)

    async def work(pool: Pool) -> list[Downloaded | Refusal]:
        await pool.decode(9, Body(picture(9)), None)  # it has started
        stopped = next(iter(pool._processes)).process
        os.kill(stopped.pid, signal.SIGSTOP)
        first = pool.decode(0, Body(picture(0)), None)
        found = await first
        monkeypatch.setattr(pools, "_STUCK_AFTER", 60)
        return [found, await pool.decode(1, Body(picture(1)), None)]

    stuck, after = with_pool(work)
    assert stuck.kind == Cause.STUCK
    assert isinstance(after, Downloaded)


def test_processes_that_cannot_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_ARGUMENTS", ["-c", "raise SystemExit(3)"])

    async def work(pool: Pool) -> None:
        # Each picture gets its two tries; a whole row of deaths ends the run.
        results = await asyncio.gather(
            *(pool.decode(i, Body(picture(i)), None) for i in range(9)), return_exceptions=True
        )
        raise next(r for r in results if isinstance(r, Exception))

    with pytest.raises(DataError, match=r"die as soon as they start \(exit code 3\)"):
        with_pool(work)


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    async def work(pool: Pool) -> None:
        await pool.decode(1, Body(picture(1)), tmp_path / "no folder" / "1.jpg")

    with pytest.raises(DataError, match="cannot be written"):
        with_pool(work)
