"""Folders and disks that cannot be written, and many openings at once."""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.cache.budget import Budget
from engine.cache.store import ActivationCache
from engine.errors import DataError

from .caches import ENTRIES, filled, items, open_cache, values_in

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


def test_a_read_only_folder_is_read(reachable: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = filled(reachable, 1, 2)
    for path in (*folder.iterdir(), folder, reachable / ".lock", reachable):
        path.chmod(path.stat().st_mode & ~0o222)
    with unprivileged(), open_cache(reachable) as cache:
        assert values_in(cache, 1, 2, 3) == {1, 2}
        cache.write(items(3))
        assert values_in(cache, 1, 2, 3) == {1, 2}
        other = ActivationCache(reachable / "t", ENTRIES, Budget(reachable, 10**6), {})
        other.write(items(1))
        assert other.read(items(1)) == {}
    assert len(caplog.messages) == 2
    assert "cannot grow (Permission denied)" in caplog.messages[0]
    assert "cannot be used (Permission denied)" in caplog.messages[1]


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_cache(tmp_path) as cache:
        cache.write(items(1))
        with monkeypatch.context() as patched:
            patched.setattr(os, "pwritev", full)
            cache.write(items(2))
        assert "No space left on device" in caplog.messages[0]
        assert values_in(cache, 1, 2) == {1}
    with open_cache(tmp_path) as again:
        again.write(items(3))
        assert values_in(again, 1, 2, 3) == {1, 3}


def test_a_disk_that_fills_up_while_the_index_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_cache(tmp_path) as cache:
        cache.write(items(1))
        assert cache._index is not None
        cache._index._db.execute("PRAGMA max_page_count=3")  # SQLite's own full disk
        cache.write(items(*range(2, 400)))
        assert "full" in caplog.messages[0]
        assert values_in(cache, *range(400)) == {1}
    with open_cache(tmp_path) as again:
        again.write(items(3))
        assert values_in(again, 1, 2, 3) == {1, 3}


def test_a_folder_that_is_removed_under_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    folder = tmp_path / "cache"
    with open_cache(folder) as cache:
        cache.write(items(1))
        shutil.rmtree(folder)
        values_in(cache, 1, 2)
        cache.write(items(2))
        values_in(cache, 1, 2)
    assert len(caplog.messages) <= 1


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
