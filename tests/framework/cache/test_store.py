"""The activation cache: what goes in comes out, whatever happens to its files."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.store import ActivationCache
from engine.errors import DataError

ENTRIES = [Entry("hidden", (3,), True, "float32"), Entry("number", (), False, "int64")]
HEAD = 24  # bytes of a record before its content


def items(*values: int) -> dict[bytes, np.ndarray]:
    return {
        value.to_bytes(16, "little"): np.full(20 + value, value % 256, dtype=np.uint8)
        for value in values
    }


def open_cache(folder: Path, limit: int = 10**7, lines: list[str] | None = None) -> ActivationCache:
    say = (lines if lines is not None else []).append
    return ActivationCache(folder / "s", ENTRIES, Budget(folder, limit), {}, say)


def filled(folder: Path, *values: int) -> Path:
    """The folder of a closed cache that holds these, in this order."""
    with open_cache(folder) as cache:
        for value in values:
            cache.write(items(value))
    return folder / "s"


def values_in(cache: ActivationCache, *values: int) -> set[int]:
    """Those that are there, each whole."""
    expected = items(*values)
    found = cache.read(expected)
    for key, item in found.items():
        assert np.array_equal(item, expected[key])
    return {int.from_bytes(key, "little") for key in found}


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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
def test_a_flipped_bit_costs_its_record_which_is_stored_again(tmp_path: Path, byte: str) -> None:
    folder = filled(tmp_path, 1, 2, 3)
    places = {"key": 3, "size": 17, "checksum": 22, "content": HEAD, "last": HEAD + 21}
    flip(folder / "data", HEAD + 21 + places[byte])
    lines: list[str] = []
    with open_cache(tmp_path, lines=lines) as cache:
        assert values_in(cache, 1, 2, 3) == {1, 3}
        assert "1 records are damaged" in lines[0]
        assert values_in(cache, 2) == set()
        cache.write(items(2))
        assert values_in(cache, 1, 2, 3) == {1, 2, 3}
    assert len(lines) == 1
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


# ---- budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 50])
@pytest.mark.parametrize("limit", [50_000, 150_000])
def test_the_budget_is_kept_and_reported_once(tmp_path: Path, limit: int, at_once: int) -> None:
    lines: list[str] = []
    with open_cache(tmp_path, limit=limit, lines=lines) as cache:
        for value in range(0, 4000, at_once):
            cache.write(items(*range(value, value + at_once)))
            assert bytes_in(tmp_path) <= limit
        assert len(cache) > limit / 4000
    assert len(lines) == 1
    assert "used up its budget" in lines[0]


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


def test_a_budget_too_small_for_any_cache(tmp_path: Path) -> None:
    lines: list[str] = []
    with open_cache(tmp_path, limit=5000, lines=lines) as cache:
        cache.write(items(1))
        assert values_in(cache, 1) == set()
    assert "no room within the budget" in lines[0]
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


# ---- what cannot be written --------------------------------------------------------------------


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions bind; in containers tests often run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A folder that other users can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        mode = folder.stat().st_mode
        if mode & 0o055 != 0o055:
            folder.chmod(mode | 0o055)
    return tmp_path


def test_a_read_only_folder_is_read(reachable: Path) -> None:
    folder = filled(reachable, 1, 2)
    for path in (*folder.iterdir(), folder, reachable / ".lock", reachable):
        path.chmod(path.stat().st_mode & ~0o222)
    lines: list[str] = []
    with unprivileged(), open_cache(reachable, lines=lines) as cache:
        assert values_in(cache, 1, 2, 3) == {1, 2}
        cache.write(items(3))
        assert values_in(cache, 1, 2, 3) == {1, 2}
        other = ActivationCache(
            reachable / "t", ENTRIES, Budget(reachable, 10**6), {}, lines.append
        )
        other.write(items(1))
        assert other.read(items(1)) == {}
    assert len(lines) == 2
    assert "cannot grow (Permission denied)" in lines[0]
    assert "cannot be used (Permission denied)" in lines[1]


@pytest.mark.parametrize("file", ["data", "index.sqlite", "lock"])
def test_one_read_only_file_costs_the_writing_alone(reachable: Path, file: str) -> None:
    folder = filled(reachable, 1, 2)
    for path in (reachable, folder, *folder.iterdir(), reachable / ".lock"):
        path.chmod(0o777)
    (folder / file).chmod(0o444)
    with unprivileged(), open_cache(reachable) as cache:
        assert values_in(cache, 1, 2) == {1, 2}
        cache.write(items(3))
        assert values_in(cache, 1, 2, 3) == {1, 2}


def test_a_read_only_folder_with_the_journal_of_a_killed_writer(reachable: Path) -> None:
    """Only a writer can undo it; what is read meanwhile is whole or not there."""
    folder = filled(reachable, 1, 2)
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE');"
        " c.executemany('INSERT INTO items VALUES(?, 5, 5)', ((bytes([i % 256, i // 256] * 8),)"
        " for i in range(3000))); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "index.sqlite")], check=True)
    assert (folder / "index.sqlite-journal").stat().st_size > 0
    for path in (*folder.iterdir(), folder, reachable / ".lock", reachable):
        path.chmod(path.stat().st_mode & ~0o222)
    with unprivileged(), open_cache(reachable) as cache:
        values_in(cache, 1, 2, 3)
    reachable.chmod(0o777)
    folder.chmod(0o777)
    for path in (*folder.iterdir(), reachable / ".lock"):
        path.chmod(0o666)
    with open_cache(reachable) as cache:
        assert values_in(cache, 1, 2) == {1, 2}
        assert len(cache) == 2


def full(*_: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_while_data_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with open_cache(tmp_path, lines=lines) as cache:
        cache.write(items(1))
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwritev", full)
            cache.write(items(2))
        assert "No space left on device" in lines[0]
        assert values_in(cache, 1, 2) == {1}
    with open_cache(tmp_path) as again:
        again.write(items(3))
        assert values_in(again, 1, 2, 3) == {1, 3}


def test_a_disk_that_fills_up_while_the_index_is_written(tmp_path: Path) -> None:
    lines: list[str] = []
    with open_cache(tmp_path, lines=lines) as cache:
        cache.write(items(1))
        assert cache._index is not None
        cache._index._db.execute("PRAGMA max_page_count=3")  # SQLite's own full disk
        cache.write(items(*range(2, 400)))
        assert "full" in lines[0]
        assert values_in(cache, *range(400)) == {1}
    with open_cache(tmp_path) as again:
        again.write(items(3))
        assert values_in(again, 1, 2, 3) == {1, 3}


def test_a_folder_that_is_removed_under_a_run(tmp_path: Path) -> None:
    import shutil

    lines: list[str] = []
    folder = tmp_path / "cache"
    with open_cache(folder, lines=lines) as cache:
        cache.write(items(1))
        shutil.rmtree(folder)
        values_in(cache, 1, 2)
        cache.write(items(2))
        values_in(cache, 1, 2)
    assert len(lines) <= 1


def test_a_file_in_the_folders_place_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match="cannot be used"):
            Budget(folder, 10**6)


@pytest.mark.parametrize("error", [38, 37, 95])
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("fcntl.flock", refuse)
    with open_cache(tmp_path) as cache:
        cache.write(items(1))
        assert values_in(cache, 1) == {1}


def test_no_lock_is_asked_of_a_handle_that_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS turns flock into a lock on bytes, which needs a handle of its kind."""
    import fcntl

    real, asked = fcntl.flock, []

    def watched(file: object, how: int) -> None:
        number = file if isinstance(file, int) else file.fileno()  # type: ignore[attr-defined]
        asked.append(fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE)
        real(number, how)

    monkeypatch.setattr("fcntl.flock", watched)
    filled(tmp_path, 1)
    budget = Budget(tmp_path, 10)
    with budget.held():
        budget.fits(1000)
    assert not (tmp_path / "s").exists()
    assert asked
    assert set(asked) == {os.O_RDWR}


# ---- many --------------------------------------------------------------------------------------


def test_many_openings_hold_and_leave_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    caches = [open_cache(tmp_path) for _ in range(150)]
    for number, cache in enumerate(caches):
        cache.write(items(number))
    assert values_in(caches[0], *range(150)) == set(range(150))
    for cache in caches:
        cache.close()
    for _ in range(150):
        open_cache(tmp_path).close()
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    names = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert names == ["about.json", "data", "index.sqlite", "lock"]


def test_opening_reads_the_same_whatever_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[int] = []
    real = sqlite3.connect

    def counted(*arguments: object, **more: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*arguments, **more)  # type: ignore[call-overload]
        connection.set_progress_handler(lambda: statements.append(1), 1)
        return connection

    monkeypatch.setattr(sqlite3, "connect", counted)
    steps = []
    for count in (10, 5000):
        with open_cache(tmp_path) as cache:
            cache.write(items(*range(count)))
        statements.clear()
        open_cache(tmp_path).close()
        steps.append(len(statements))
    assert steps[0] == steps[1] > 0


def test_a_key_takes_at_most_64_bytes_and_no_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    empty = np.empty(0, np.uint8)
    with open_cache(tmp_path) as cache:
        for _ in range(20):
            cache.write({rng.bytes(16): empty for _ in range(1000)})
        assert len(cache) == 20_000
        # No container of the object grows with the keys.
        assert not any(len(value) > 100 for value in vars(cache).values() if hasattr(
            value, "__len__") and value is not cache._index)  # fmt: skip
    index = (tmp_path / "s" / "index.sqlite").stat().st_size
    assert index / 20_000 <= 64


def test_threads_share_a_cache(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    with open_cache(tmp_path) as cache:

        def work(first: int) -> None:
            try:
                for value in range(first, first + 200, 10):
                    cache.write(items(*range(value, value + 10)))
                    assert len(values_in(cache, *range(first, value + 10))) == value + 10 - first
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len(cache) == 800
