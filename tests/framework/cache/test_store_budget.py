"""The budget of a folder of caches."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from engine.cache.budget import Budget
from engine.cache.store import ActivationCache

from .caches import ENTRIES, filled, items, open_cache, values_in


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# ---- budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 50])
@pytest.mark.parametrize("limit", [50_000, 150_000])
def test_the_budget_is_kept_and_reported_once(
    tmp_path: Path, limit: int, at_once: int, caplog: pytest.LogCaptureFixture
) -> None:
    with open_cache(tmp_path, limit=limit) as cache:
        for value in range(0, 4000, at_once):
            cache.write(items(*range(value, value + at_once)))
            assert bytes_in(tmp_path) <= limit
        assert len(cache) > limit / 4000
    assert len(caplog.messages) == 1
    assert "used up its budget" in caplog.messages[0]


def test_processes_keep_a_budget_together(tmp_path: Path) -> None:
    caches = [
        ActivationCache(tmp_path / f"s{i % 2}", ENTRIES, Budget(tmp_path, 80_000), {})
        for i in range(4)
    ]
    for value in range(0, 2000, 20):
        caches[value % 4].write(items(*range(value, value + 20)))
        assert bytes_in(tmp_path) <= 80_000
    for cache in caches:
        cache.close()


def test_a_budget_too_small_for_any_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_cache(tmp_path, limit=5000) as cache:
        cache.write(items(1))
        assert values_in(cache, 1) == set()
    assert "no room within the budget" in caplog.messages[0]
    assert bytes_in(tmp_path) == 0


def big(letter: str, size: int = 20_000) -> dict[bytes, np.ndarray]:
    return {letter.encode() * 16: np.zeros(size, np.uint8)}


def test_a_cache_that_nobody_uses_makes_room(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 90_000)
    old = ActivationCache(tmp_path / "old", ENTRIES, budget, {})
    old.write(big("o"))
    held = ActivationCache(tmp_path / "held", ENTRIES, budget, {})
    held.write(big("h", 1000))
    old.close()
    new = ActivationCache(tmp_path / "new", ENTRIES, budget, {})
    new.write(big("n", 30_000))
    assert b"n" * 16 in new
    assert not (tmp_path / "old").exists()
    assert held.read([b"h" * 16])
    held.close()
    new.close()


def test_the_cache_opened_longest_ago_goes_first(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 105_000)
    for name in ("a", "b"):
        with ActivationCache(tmp_path / name, ENTRIES, budget, {}) as cache:
            cache.write(big(name))
        os.utime(tmp_path / name, (1, 1 + ord(name)))
    ActivationCache(tmp_path / "a", ENTRIES, budget, {}).close()  # used again
    with ActivationCache(tmp_path / "new", ENTRIES, budget, {}) as new:
        new.write(big("n"))
        assert b"n" * 16 in new
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_removal_that_a_kill_cut_short_is_finished(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1, 2)
    (folder / "index.sqlite").unlink()  # what goes first
    with open_cache(tmp_path) as cache:
        assert values_in(cache, 1, 2) == set()
        cache.write(items(1))
        assert values_in(cache, 1, 2) == {1}
    (folder / "index.sqlite").unlink()
    (folder / "data").unlink()
    budget = Budget(tmp_path, 10)
    with budget.held():
        budget.fits(1000)
    assert not folder.exists()


def test_what_is_not_a_cache_is_neither_counted_nor_removed(tmp_path: Path) -> None:
    (filled(tmp_path, 1) / "letter.txt").write_text("keep me")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_bytes(bytes(500_000))
    budget = Budget(tmp_path, 60_000)
    assert budget.used < 30_000
    with ActivationCache(tmp_path / "new", ENTRIES, budget, {}) as new:
        new.write(big("n", 40_000))
        assert b"n" * 16 not in new
    assert (tmp_path / "s" / "letter.txt").read_text() == "keep me"


def test_files_that_only_one_process_sees_count(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 60_000)
    assert budget.take(40_000)
    assert not budget.take(30_000)
    with ActivationCache(tmp_path / "s", ENTRIES, budget, {}) as cache:
        cache.write(big("n"))
        assert b"n" * 16 not in cache
    budget.give_back(40_000)
    with ActivationCache(tmp_path / "s", ENTRIES, budget, {}) as cache:
        cache.write(big("n"))
        assert b"n" * 16 in cache


def test_a_cache_is_not_removed_while_it_is_opened(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 10**6)
    opened: list[float] = []

    def open_it() -> None:
        open_cache(tmp_path).close()
        opened.append(time.monotonic())

    with budget.held():
        thread = threading.Thread(target=open_it)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        freed = time.monotonic()
    thread.join()
    assert opened[0] >= freed
