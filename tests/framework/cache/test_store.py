"""The store: what goes in comes out, whatever happens to its files."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.items import Entry
from engine.cache.store import Budget, Store

ENTRIES = [Entry("hidden", (3,), True, "float32"), Entry("number", (), False, "int64")]


def items(*values: int) -> dict[bytes, np.ndarray]:
    return {bytes([v] * 16): np.full(20 + v, v, dtype=np.uint8) for v in values}


def open_store(folder: Path, limit: int = 10**6, told: list[str] | None = None) -> Store:
    say = (told if told is not None else []).append
    return Store(folder / "s", ENTRIES, Budget(folder, limit), {}, say)


def check(store: Store, *values: int) -> None:
    assert len(store) == len(values)
    for key, item in items(*values).items():
        found = store.read(key)
        assert found is not None
        assert np.array_equal(found, item)


def test_items_come_back_also_in_another_process(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write(items(1, 2))
    store.write(items(3))
    check(store, 1, 2, 3)
    other = open_store(tmp_path)  # the first one is open: this one writes another part
    check(other, 1, 2, 3)
    other.write(items(4))
    assert bytes([4] * 16) not in store
    store.refresh()
    check(store, 1, 2, 3, 4)
    store.close()
    other.close()
    third = open_store(tmp_path)
    check(third, 1, 2, 3, 4)
    assert sorted(path.name for path in (tmp_path / "s").glob("*.data")) == ["0.data", "1.data"]


@given(cut=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_an_index_cut_anywhere_loses_whole_groups_and_takes_new_ones(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    store = open_store(folder)
    store.write(items(1, 2))
    store.write(items(3, 4))
    store.close()
    index = folder / "s" / "0.index"
    os.truncate(index, max(0, index.stat().st_size - cut))
    again = open_store(folder)
    assert len(again) in ({4} if cut == 0 else {2} if cut <= 80 else {0})
    again.write(items(5))
    again.close()
    last = open_store(folder)
    left = [v for v in (1, 2, 3, 4) if bytes([v] * 16) in last]
    check(last, *left, 5)


def test_data_cut_short_loses_what_was_there(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write(items(1, 2, 3))
    store.close()
    os.truncate(tmp_path / "s" / "0.data", 21 + 10)
    check(open_store(tmp_path), 1)


def test_a_flipped_bit_is_found_and_told(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write(items(1, 2))
    store.close()
    path = tmp_path / "s" / "0.data"
    data = bytearray(path.read_bytes())
    data[25] ^= 4
    path.write_bytes(data)
    told: list[str] = []
    again = open_store(tmp_path, told=told)
    assert again.read(bytes([1] * 16)) is not None
    assert again.read(bytes([2] * 16)) is None
    assert "damaged" in told[0]


def test_the_budget_is_kept_and_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    store = open_store(tmp_path, limit=1000, told=told)
    for value in range(1, 60):
        store.write(items(value))
    assert 5 < len(store) < 30
    assert len(told) == 1
    assert "budget" in told[0]
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert used <= 1000 + 400  # store.json is no item


def test_a_store_that_nobody_uses_makes_room(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 2000)
    old = Store(tmp_path / "old", ENTRIES, budget, {})
    old.write({b"o" * 16: np.zeros(1200, np.uint8)})
    held = Store(tmp_path / "held", ENTRIES, budget, {})
    held.write({b"h" * 16: np.zeros(100, np.uint8)})
    old.close()
    new = Store(tmp_path / "new", ENTRIES, budget, {})
    new.write({b"n" * 16: np.zeros(1200, np.uint8)})
    assert b"n" * 16 in new
    assert not (tmp_path / "old").exists()
    assert held.read(b"h" * 16) is not None


def test_a_disk_that_is_full_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    store = open_store(tmp_path, told=told)
    store.write(items(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.cache.store._write_all", full)
    store.write(items(2))
    assert "No space left on device" in told[0]
    check(store, 1)


def test_the_store_opened_longest_ago_goes_first(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 2000)
    for name in ("a", "b"):
        store = Store(tmp_path / name, ENTRIES, budget, {})
        store.write({name.encode() * 16: np.zeros(700, np.uint8)})
        store.close()
        os.utime(tmp_path / name, (1, 1 + ord(name)))
    Store(tmp_path / "a", ENTRIES, budget, {}).close()  # used again
    new = Store(tmp_path / "new", ENTRIES, budget, {})
    new.write({b"n" * 16: np.zeros(500, np.uint8)})
    assert b"n" * 16 in new
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_what_is_no_store_is_neither_counted_nor_removed(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1000)
    Store(tmp_path / "old", ENTRIES, budget, {}).close()
    (tmp_path / "old" / "letter.txt").write_text("keep me")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_bytes(bytes(5000))
    budget.measure()
    assert budget.used < 1000
    new = Store(tmp_path / "new", ENTRIES, budget, {})
    new.write({b"n" * 16: np.zeros(990, np.uint8)})
    assert b"n" * 16 not in new
    assert (tmp_path / "old" / "letter.txt").read_text() == "keep me"


def test_a_budget_looks_again_at_what_others_wrote(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1500)
    other = Store(tmp_path / "other", ENTRIES, Budget(tmp_path, 10**6), {})
    other.write({b"o" * 16: np.zeros(1400, np.uint8)})
    budget.measure()
    store = Store(tmp_path / "own", ENTRIES, budget, {})
    store.write({b"n" * 16: np.zeros(500, np.uint8)})
    assert b"n" * 16 not in store  # the other's is open, so it cannot make room


def test_a_store_is_not_removed_while_it_is_opened(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 10**6)
    opened: list[float] = []

    def open_it() -> None:
        Store(tmp_path / "s", ENTRIES, Budget(tmp_path, 10**6), {}).close()
        opened.append(time.monotonic())

    with budget.held():
        thread = threading.Thread(target=open_it)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        freed = time.monotonic()
    thread.join()
    assert opened[0] >= freed
