"""The activation cache: what goes in comes out, whatever happens to its files."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .caches import filled, items, open_cache, values_in

HEAD = 24  # bytes of a record before its content


def test_items_come_back_and_nothing_else(tmp_path: Path) -> None:
    with open_cache(tmp_path) as cache:
        cache.write(items(1, 2))
        cache.write({**items(3), b"e" * 16: np.empty(0, np.uint8)})
        assert values_in(cache, 1, 2, 3, 4) == {1, 2, 3}
        assert cache.read([b"e" * 16])[b"e" * 16].shape == (0,)
        assert cache.known(items(2, 4)) == items(2).keys()
        assert (next(iter(items(1))) in cache, b"x" * 16 in cache) == (True, False)
        assert len(cache) == 4
    assert cache.read(items(1)) == {}  # closed
    cache.write(items(9))
    with open_cache(tmp_path) as again:
        assert values_in(again, 1, 2, 3, 9) == {1, 2, 3}


@given(
    batches=st.lists(st.sets(st.integers(0, 30), max_size=6), max_size=8),
    reopened=st.sets(st.integers(0, 8)),
)
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_writes_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, batches: list[set[int]], reopened: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = open_cache(folder)
    other = open_cache(folder)
    expected: set[int] = set()
    for number, batch in enumerate(batches):
        cache.write(items(*batch))
        expected |= batch
        if number in reopened:
            cache.close()
            cache = open_cache(folder)
        assert values_in(cache, *range(31)) == expected
        assert values_in(other, *range(31)) == expected  # opened before any was written
    assert len(other) == len(expected)
    cache.close()
    other.close()


def test_an_equal_item_is_stored_once(tmp_path: Path) -> None:
    with open_cache(tmp_path) as one, open_cache(tmp_path) as two:
        one.write(items(1, 2))
        size = (tmp_path / "s" / "data").stat().st_size
        two.write(items(1, 2))
        assert (tmp_path / "s" / "data").stat().st_size == size
        two.write(items(1, 2, 3))
        assert (tmp_path / "s" / "data").stat().st_size == size + HEAD + 23


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    with open_cache(tmp_path) as cache:
        cache.write(items(*range(2500)))
        assert len(values_in(cache, *range(-0, 3000))) == 2500


def test_a_large_item(tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(0, 256, 5_000_000, dtype=np.uint8)
    with open_cache(tmp_path) as cache:
        cache.write({b"l" * 16: large, **items(1)})
        assert np.array_equal(cache.read([b"l" * 16])[b"l" * 16], large)


def test_the_system_may_write_and_read_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda f, b, at: real(f, [bytes(b[0])[:7]], at))
    with open_cache(tmp_path) as cache:
        cache.write(items(1, 2, 300))
        assert values_in(cache, 1, 2, 300) == {1, 2, 300}


# ---- damage ------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("byte", ["key", "size", "checksum", "content", "last"])
def test_a_flipped_bit_costs_its_record_which_is_stored_again(
    tmp_path: Path, byte: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(tmp_path, 1, 2, 3)
    places = {"key": 3, "size": 17, "checksum": 22, "content": HEAD, "last": HEAD + 21}
    flip(folder / "data", HEAD + 21 + places[byte])
    with open_cache(tmp_path) as cache:
        assert values_in(cache, 1, 2, 3) == {1, 3}
        assert "1 records are damaged" in caplog.messages[0]
        assert values_in(cache, 2) == set()
        cache.write(items(2))
        assert values_in(cache, 1, 2, 3) == {1, 2, 3}
    assert len(caplog.messages) == 1
    with open_cache(tmp_path) as again:
        assert values_in(again, 1, 2, 3) == {1, 2, 3}


def test_damage_after_the_first_reading_is_found_too(tmp_path: Path) -> None:
    folder = filled(tmp_path, 1, 2)
    with open_cache(tmp_path) as cache:
        assert values_in(cache, 1, 2) == {1, 2}
        with (folder / "data").open("r+b") as file:
            file.seek(HEAD + 5)
            file.write(b"!")
        assert values_in(cache, 1, 2) == {2}


@pytest.mark.parametrize("length", [0, 10, 60, 100])
def test_data_that_somebody_truncates_end_no_process(tmp_path: Path, length: int) -> None:
    folder = filled(tmp_path, 1, 2, 3)  # 45, 46 and 47 bytes
    with open_cache(tmp_path) as cache:
        held = cache.read(items(1, 2, 3))
        os.truncate(folder / "data", length)
        assert all(item.max() == item.min() for item in held.values())  # readers' own memory
        whole = {1} if length >= 45 else set()
        whole |= {2} if length >= 91 else set()
        assert values_in(cache, 1, 2, 3) == whole
        cache.write(items(1, 2, 3, 4))
        assert values_in(cache, 1, 2, 3, 4) == {1, 2, 3, 4}


def test_a_batch_that_a_kill_cut_short_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    folder = filled(tmp_path, 1)
    with monkeypatch.context() as patched, open_cache(tmp_path) as cache:
        patched.setattr("engine.cache.index.Index.add", die)
        with pytest.raises(Killed):
            cache.write(items(2, 3))
    torn = (folder / "data").stat().st_size
    assert torn > 45
    with open_cache(tmp_path) as again:
        assert values_in(again, 1, 2, 3) == {1}
        again.write(items(4))
        assert values_in(again, 1, 2, 3, 4) == {1, 4}
    assert (folder / "data").stat().st_size == torn


def rewrite(statement: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as index:
            index.execute(statement)
            index.commit()

    return change


def overwrite(at: int, content: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / "index.sqlite").open("r+b") as file:
            file.seek(at)
            file.write(content)

    return change


INDEX_DAMAGE = {
    "not a database": overwrite(0, b"<html>not a database</html>" * 40),
    "an empty file": lambda folder: os.truncate(folder / "index.sqlite", 0),
    "half a page": lambda folder: os.truncate(folder / "index.sqlite", 2000),
    "one page": lambda folder: os.truncate(folder / "index.sqlite", 4096),
    "noise in a page": overwrite(4096, bytes(range(256)) * 16),
    "zeros in a page": overwrite(4096, bytes(4096)),
    "noise in the schema": overwrite(3900, b"\xff\xfe" * 98),
    "noise everywhere": overwrite(100, bytes(range(256)) * 40),
    "another format": rewrite("PRAGMA user_version=1"),
    "another table": rewrite("CREATE TABLE more(x)"),
    "no table": rewrite("DROP TABLE items"),
    "places that are none": rewrite("UPDATE items SET place = 'x'"),
    "places beyond the end": rewrite("UPDATE items SET place = 1 << 60"),
    "places before the beginning": rewrite("UPDATE items SET place = -5"),
    "sizes beyond measure": rewrite("UPDATE items SET size = 1 << 50"),
    "wrong places": rewrite("UPDATE items SET place = place + 1"),
    "no end": rewrite("DELETE FROM data"),
    "an end that is none": rewrite("UPDATE data SET end = 'x'"),
    "an end before the beginning": rewrite("UPDATE data SET end = -9"),
    "gone": lambda folder: (folder / "index.sqlite").unlink(),
    "a torn journal": lambda folder: (folder / "index.sqlite-journal").write_bytes(b"\xd9" * 999),
}


@pytest.mark.parametrize("damage", INDEX_DAMAGE.values(), ids=INDEX_DAMAGE)
def test_a_damaged_index_gives_no_wrong_item_and_holds_new_ones_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = filled(tmp_path, *range(1, 6))
    damage(folder)
    for _ in range(2):  # the first may only find the damage
        with open_cache(tmp_path) as cache:
            values_in(cache, *range(1, 6))
            cache.write(items(*range(1, 9)))
            values_in(cache, *range(1, 9))
    with open_cache(tmp_path) as cache:
        cache.write(items(*range(1, 9)))
        assert values_in(cache, *range(1, 9)) == set(range(1, 9))


@pytest.mark.parametrize("damage", INDEX_DAMAGE.values(), ids=INDEX_DAMAGE)
def test_an_index_damaged_while_two_have_it_open_ends_neither(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    folder = filled(tmp_path, *range(1, 6))
    with open_cache(tmp_path) as one, open_cache(tmp_path) as two:
        values_in(one, 1)
        with contextlib.suppress(sqlite3.Error):
            damage(folder)
        for cache in (one, two, one):
            values_in(cache, *range(1, 6))
            cache.write(items(*range(1, 9)))
            values_in(cache, *range(1, 9))


@given(
    noise=st.binary(min_size=1, max_size=300),
    at=st.floats(0, 1, exclude_max=True),
    file=st.sampled_from(["index.sqlite", "data"]),
)
@settings(max_examples=60, deadline=None)
def test_noise_anywhere_in_a_file_gives_no_wrong_item(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: float, file: str
) -> None:
    folder = filled(tmp_path_factory.mktemp("noise"), *range(1, 40))
    with (folder / file).open("r+b") as opened:
        opened.seek(int(at * (folder / file).stat().st_size))
        opened.write(noise)
    with open_cache(folder.parent) as cache:
        values_in(cache, *range(1, 50))
        cache.write(items(*range(1, 50)))
        values_in(cache, *range(1, 50))
