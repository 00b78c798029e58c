"""Digests of data: every file counts, however many, and none is kept in memory."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.bench import fingerprints
from engine.bench.datasets import use_of
from engine.bench.fingerprints import Prints
from engine.contracts.settings import Settings
from engine.core.named_files import file_lines, files_digest

SHAPES = {"use": "shapes", "split": "test", "size": 16, "count": 6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folders in folders."""
    root = tmp_path / "data"
    for name in ("a.jpg", "b.jpg", "img/c.jpg", "img/deep/d.jpg", "img/\u0444.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"content")
    return root


def rename(folder: Path) -> None:
    (folder / "a.jpg").rename(folder / "z.jpg")


def move(folder: Path) -> None:
    (folder / "img" / "c.jpg").rename(folder / "img" / "deep" / "c.jpg")


def swap(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(b"content is longer")
    one, two = (folder / name for name in ("a.jpg", "b.jpg"))
    one.rename(folder / "t")
    two.rename(one)
    (folder / "t").rename(two)


def touch(folder: Path) -> None:
    stat = (folder / "b.jpg").stat()
    os.utime(folder / "b.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def later(folder: Path) -> None:
    path = folder / "img" / "deep" / "d.jpg"
    stat = path.stat()
    path.write_bytes(b"other!!")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))


CHANGES: list[Callable[[Path], object]] = [
    rename, move, swap, touch, later,
    lambda folder: (folder / "new.jpg").write_bytes(b""),
    lambda folder: (folder / "img" / "deep" / "d.jpg").unlink(),
    lambda folder: (folder / "b.jpg").write_bytes(b"content."),
    lambda folder: (folder / "link").symlink_to("a.jpg"),
    lambda folder: (folder / "nowhere").symlink_to("nothing"),
    lambda folder: (folder / "img").chmod(0o777) or (folder / "img" / os.fsdecode(b"\xff")).touch(),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_of_any_file_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    before = files_digest([folder])
    assert files_digest([folder]) == before
    change(folder)
    assert files_digest([folder]) != before


def test_the_order_of_a_folder_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_digest([folder])
    real = os.scandir

    class Backwards:
        def __init__(self, path: Any) -> None:
            self.rest = sorted(real(path), key=lambda entry: entry.name, reverse=True)

        def __next__(self) -> Any:
            if not self.rest:
                raise StopIteration
            return self.rest.pop()

        def close(self) -> None:
            self.rest = []

    for order in (Backwards, lambda path: iter_of(Backwards(path))):
        monkeypatch.setattr(os, "scandir", order)
        assert files_digest([folder]) == before


def iter_of(found: Any) -> Any:
    found.rest.reverse()
    return found


def test_a_folder_linked_to_within_itself_ends(folder: Path) -> None:
    (folder / "img" / "again").symlink_to(folder, target_is_directory=True)
    assert len(list(file_lines(folder))) == 6


def test_a_very_deep_folder(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(400):
        here = here / "d"
        here.mkdir()
    (here / "last.jpg").write_bytes(b"x")
    assert len(list(file_lines(tmp_path / "d"))) == 1
    before = files_digest(tmp_path / "d")
    (here / "last.jpg").write_bytes(b"xy")
    assert files_digest(tmp_path / "d") != before


class Inner(Settings):
    """Settings within settings."""

    truth: Path | None = None


class Named(Settings):
    """Every way in which settings name a file."""

    path: Path | None = None
    several: tuple[Path, ...] = ()
    by_name: dict[str, Path] = {}
    inner: Inner = Inner()
    weights: str = ""


@pytest.mark.parametrize(
    "named",
    [
        lambda path: {"path": path},
        lambda path: {"several": (path / "a.jpg", path / "img")},
        lambda path: {"by_name": {"x": path / "img" / "deep"}},
        lambda path: {"inner": Inner(truth=path / "img" / "deep" / "d.jpg")},
        lambda path: {"weights": f"file:{path}"},
        lambda path: {"weights": f"artifact:{path / 'img'}"},
    ],
)
def test_a_file_counts_wherever_settings_name_it(
    folder: Path, named: Callable[[Path], dict[str, Any]]
) -> None:
    settings = Named(**named(folder))
    before = files_digest(settings)
    later(folder)
    assert files_digest(settings) != before
    (folder / "img" / "deep" / "d.jpg").unlink()
    assert files_digest(settings) != before


def test_the_fingerprint_follows_settings_and_files(photographs: Path) -> None:
    plain = {"use": "zero_shot_folder", "path": str(photographs / "one"),
             "truth": str(photographs / "gt.json")}  # fmt: skip
    first = Prints().of(use_of(plain))
    assert Prints().of(use_of(plain)) == first
    (photographs / "one" / "img" / "0.png").write_bytes(b"changed")
    assert Prints().of(use_of(plain)) != first
    second = Prints().of(use_of(plain))
    (photographs / "gt.json").write_text("{}")
    assert Prints().of(use_of(plain)) != second
    assert Prints().of(use_of(SHAPES)) != Prints().of(use_of({**SHAPES, "seed": 1}))
    joined = {"use": "concat", "of": [plain, SHAPES]}
    third = Prints().of(use_of(joined))
    (photographs / "one" / "img" / "1.png").unlink()
    assert Prints().of(use_of(joined)) != third


def test_a_data_set_is_looked_at_once(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    real = fingerprints.files_digest
    monkeypatch.setattr(
        fingerprints, "files_digest", lambda *some: calls.append(some) or real(*some)
    )
    prints = Prints()
    for _ in range(3):
        prints.of(use_of({"use": "zero_shot_folder", "path": str(photographs / "one")}))
    assert len(calls) == 1


class Many:
    """A folder of very many files, as the system gives them."""

    count = 250_000
    changed = -1

    def __init__(self, path: Any) -> None:
        self.next = 0

    def __next__(self) -> Any:
        if self.next == self.count:
            raise StopIteration
        self.next += 1
        name, size = f"{self.next}.jpg", 7 + (self.next == self.changed)
        return SimpleNamespace(
            name=name, is_dir=lambda: False,
            stat=lambda: SimpleNamespace(st_size=size, st_mtime_ns=5),
        )  # fmt: skip

    def close(self) -> None:
        pass


@pytest.mark.slow
def test_every_one_of_very_many_files_counts_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "scandir", Many)
    lines: list[int] = []
    tracemalloc.start()
    before = files_digest(tmp_path, lines.append)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert lines == list(range(10_000, Many.count + 1, 10_000))
    for number in (1, 100_001, Many.count):
        monkeypatch.setattr(Many, "changed", number)
        assert files_digest(tmp_path) != before
