"""Files that take another's place: whole or not at all, and never something that is not a file."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from engine.core.files import check_outputs, check_target, replacing, write_pieces, write_text
from engine.errors import DataError, WriteError


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk" / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in real.parent.iterdir()] == ["real.json"]


def make(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")
    elif kind == "link to a device":
        path.symlink_to("/dev/null")
    elif kind == "links in a circle":
        path.symlink_to("other")
        path.with_name("other").symlink_to(path.name)
    else:
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(path))
        made.close()


@pytest.mark.parametrize(
    "kind", ["pipe", "link to a pipe", "link to a device", "links in a circle", "socket"]
)
def test_only_regular_files_are_replaced(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = Path("p")
    make(path, kind)
    for act in (check_target, lambda path: write_text(path, "new")):
        with pytest.raises(DataError, match=r"not a regular file|circle"):
            act(path)
    assert Path("/dev/null").is_char_device()
    assert not path.is_file()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_reported_in_one_line(tmp_path: Path, number: int) -> None:
    path = tmp_path / "p.json"
    path.write_text("old")
    with pytest.raises(WriteError, match=r"p\.json cannot be written: ") as caught, replacing(path):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in caught.value.message
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "database or disk is full",
        "[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device",
    ],
)
def test_a_full_disk_is_recognised_in_errors_of_other_libraries(tmp_path: Path, text: str) -> None:
    with pytest.raises(WriteError, match="cannot be written"), replacing(tmp_path / "p"):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="another"), replacing(tmp_path / "p"):
        raise RuntimeError("another matter")
    assert not list(tmp_path.iterdir())


def test_long_and_odd_names(tmp_path: Path) -> None:
    for name in ("a" * 255, "ы" * 127, "~", ".tmp", "a.b-1-000000000000.tmp", "b\udcff", "x\ny"):
        write_pieces(tmp_path / name, [b"1", b"2"])
        write_text(tmp_path / name, "3")
        assert (tmp_path / name).read_bytes() == b"3"
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_outputs_that_would_replace_what_is_read(tmp_path: Path) -> None:
    truth, data = tmp_path / "gt.json", tmp_path / "data"
    (data / "img").mkdir(parents=True)
    truth.write_text("{}")
    (data / "img" / "1.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(truth)
    os.link(truth, tmp_path / "hard")
    reads = [truth, data, None, tmp_path / "missing"]
    check_outputs([tmp_path / "p.json", None, data / "new.json"], reads)
    for bad in (truth, tmp_path / "link", tmp_path / "hard", data / ".." / "gt.json",
                data / "img" / "1.jpg"):  # fmt: skip
        with pytest.raises(DataError, match="is read by this command"):
            check_outputs([bad], reads)
    for other in (tmp_path / "p", tmp_path / "data" / ".." / "p"):
        with pytest.raises(DataError, match="are the same file"):
            check_outputs([tmp_path / "p", other], [])
