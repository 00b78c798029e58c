"""Caches under several processes at once, some of them killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache.budget import Budget
from engine.cache.store import ActivationCache

from .writer import COUNT, ENTRIES, check, item

WRITER = Path(__file__).with_name("writer.py")


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def open_cache(folder: Path, limit: int = 10**9) -> ActivationCache:
    return ActivationCache(folder / "s", ENTRIES, Budget(folder, limit), {})


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun to write and goes on."""
    process = start("endless", tmp_path, 0)
    assert process.stdout is not None
    assert process.stdout.readline(), process.communicate()[1]
    yield process
    process.kill()
    process.communicate()


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("limit", [10**6, 30_000])
def test_processes_write_read_and_make_room_at_once(tmp_path: Path, limit: int) -> None:
    processes = [start("in_turn", tmp_path, limit, seed) for seed in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert bytes_in(tmp_path) <= limit
    seen = 0
    for name in ("s0", "s1"):
        with ActivationCache(tmp_path / name, ENTRIES, Budget(tmp_path, limit), {}) as cache:
            seen += check(cache, list(range(COUNT)))
    assert seen > (COUNT if limit == 10**6 else 0)


@pytest.mark.slow
def test_a_reader_sees_what_a_running_writer_adds(
    tmp_path: Path, endless: subprocess.Popen[str]
) -> None:
    cache = open_cache(tmp_path)
    assert endless.stdout is not None
    for _ in range(20):
        written = int(endless.stdout.readline())
        assert check(cache, list(range(written))) == written
    cache.close()


@pytest.mark.slow
def test_killed_writers_lose_no_batch_that_was_stored_and_leave_a_whole_cache(
    tmp_path: Path,
) -> None:
    reader = open_cache(tmp_path)
    written = 0
    for attempt in range(6):
        process = start("endless", tmp_path, written)
        assert process.stdout is not None
        written = int(process.stdout.readline())
        time.sleep(0.004 * attempt)
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        written = int(rest.split()[-1]) if rest.split() else written
        assert check(reader, list(range(written))) == written
        with open_cache(tmp_path) as again:
            assert check(again, list(range(written))) == written
            again.write(dict([item(10**6 + attempt)]))
    assert check(reader, [10**6 + attempt for attempt in range(6)]) == 6
    reader.close()
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names <= {"index.sqlite", "index.sqlite-journal", "data", "lock", "about.json"}


@pytest.mark.slow
def test_a_cache_is_not_removed_while_another_process_has_it_open(
    tmp_path: Path, endless: subprocess.Popen[str]
) -> None:
    assert endless.stdout is not None
    budget = Budget(tmp_path, 1)
    with budget.held():
        assert not budget.fits(10**6)
    assert (tmp_path / "s" / "data").exists()
    endless.kill()
    endless.wait()
    with budget.held():
        budget.fits(10**6)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_stopped_process_that_holds_the_lock_stops_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine.cache.budget._WAIT", 0.2)
    cache = ActivationCache(tmp_path / "s", ENTRIES, Budget(tmp_path, 10**6), {})
    cache.write(dict([item(1)]))
    with Budget(tmp_path, 10**6).held():
        cache.write(dict([item(2)]))
        assert check(cache, [1, 2]) == 1
    assert "holds the lock" in caplog.messages[0]


def _in_child(cache: ActivationCache, numbers: list[int]) -> None:
    assert check(cache, [1]) == 1
    cache.write(dict(map(item, numbers)))
    assert check(cache, numbers) == len(numbers)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_uses_the_cache_beside_its_parent(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with open_cache(tmp_path) as cache:
        cache.write(dict([item(1)]))
        children = [
            context.Process(target=_in_child, args=(cache, [10 * n, 10 * n + 1])) for n in (1, 2)
        ]
        for child in children:
            child.start()
        cache.write(dict([item(2)]))
        for child in children:
            child.join()
            assert child.exitcode == 0
        assert check(cache, [1, 2, 10, 11, 20, 21]) == 6
