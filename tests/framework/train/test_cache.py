"""The store: what goes in comes out, whatever happens to its files; a stale one is never found."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.schema import EngineConfig
from engine.train.cache import Budget, Entry, Store, entries_of, pack, unpack
from engine.train.prefix import fingerprint
from engine.train.sides import group_by_length

from .conftest import Run

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

    monkeypatch.setattr("engine.train.cache._write_all", full)
    store.write(items(2))
    assert "No space left on device" in told[0]
    check(store, 1)


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    width=st.integers(1, 4),
    half=st.booleans(),
)
@settings(deadline=None)
def test_rows_packed_come_back_without_their_padding(
    lengths: list[int], width: int, half: bool
) -> None:
    longest = max(lengths)
    hidden = torch.randn(len(lengths), longest + 1, width)
    state = {"hidden": hidden, "number": torch.arange(len(lengths))}
    short = {"hidden": hidden[:1, :1], "number": torch.zeros(1, dtype=torch.int64)}
    long = {"hidden": torch.randn(1, 2, width), "number": torch.zeros(1, dtype=torch.int64)}
    entries = entries_of(short, long, "float16" if half else "float32")
    back = unpack(pack(state, entries, lengths), entries, lengths)
    assert back["hidden"].shape == (len(lengths), longest, width)
    for i, length in enumerate(lengths):
        expected = hidden[i, :length].half().float() if half else hidden[i, :length]
        assert torch.equal(back["hidden"][i, :length], expected)
        assert not back["hidden"][i, length:].any()
    assert torch.equal(back["number"], state["number"])


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40),
    cost=st.integers(0, 60),
    most=st.one_of(st.none(), st.integers(1, 9)),
)
def test_groups_hold_every_row_once_and_cost_least(
    lengths: list[int], cost: int, most: int | None
) -> None:
    array = np.array(lengths)
    groups = group_by_length(array, cost, most)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    if most is not None:
        assert all(len(group) <= most for group in groups)
        return

    def price(some: list[np.ndarray]) -> int:
        return sum(len(group) * int(array[group].max()) + cost for group in some)

    order = np.argsort(array, kind="stable")
    one = [order]
    each = [order[array[order] == value] for value in np.unique(array)]
    assert price(groups) <= min(price(one), price(each))


def test_any_change_of_what_the_numbers_follow_from_changes_the_name(
    make_config: Callable[..., EngineConfig], trained: Run
) -> None:
    trainer, _ = trained(make_config(), run=False)
    tower, use = trainer.model.text, trainer.config.model.text
    name = fingerprint(tower, 3, use, "float32")
    assert fingerprint(copy.deepcopy(tower), 3, use, "float32") == name
    assert fingerprint(tower, 2, use, "float32") != name
    assert fingerprint(tower, 3, use, "float16") != name
    assert fingerprint(tower, 3, use, "float32", "other pixels") != name
    later = copy.deepcopy(tower)
    with torch.no_grad():
        later.h[3].ln_1.weight[0] += 1e-3
    assert fingerprint(later, 3, use, "float32") == name
    changed = copy.deepcopy(tower)
    with torch.no_grad():
        changed.h[1].ln_1.weight[0] += 1e-3
    assert fingerprint(changed, 3, use, "float32") != name
