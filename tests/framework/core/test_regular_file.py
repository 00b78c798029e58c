"""Files from outside: only regular ones are opened, bounded; and read ahead where that helps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.core.regular_file import open_regular, prefetch, read_regular


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def missing(path: Path) -> Path:
    return path


@pytest.mark.parametrize("make", [fifo, folder, missing])
def test_what_is_not_a_file_is_refused_and_never_waited_for(make: object, tmp_path: Path) -> None:
    path = make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises(OSError, match=r"not a file|No such file"):
        open_regular(path)
    prefetch(path)  # only a hint


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="4"):
        read_regular(path, 4)


def test_prefetch_asks_for_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *what: asked.append(what), raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    prefetch(path)
    assert asked == [(0, 0, 3)]
