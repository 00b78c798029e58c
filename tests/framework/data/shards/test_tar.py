"""Tars of shards: plain files with plain names; whatever else one may hold is refused."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.data.shards import Member, read_members
from engine.errors import DataError


def packed(
    path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=form) as file:
        for info, data in members:
            info.size = len(data) if info.isreg() else info.size
            file.addfile(info, io.BytesIO(data))
    return path


def plain(name: str) -> tarfile.TarInfo:
    return tarfile.TarInfo(name)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize(
    "names", [["1.jpg", "1.json"], ["кот.jpg"], ["x" * 99], ["y" * 100], ["a b%2E.jpg"], []]
)
def test_as_tarfile_reads_them(form: int, names: list[str], tmp_path: Path) -> None:
    members = [(plain(name), name.encode() * 50) for name in names]
    path = packed(tmp_path / "0.tar", *members, form=form)
    with tarfile.open(path) as file:
        expected = [Member(each.name, each.offset_data, each.size) for each in file]
    assert list(read_members(path)) == expected
    assert [each.name for each in expected] == names


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names(form: int, tmp_path: Path) -> None:
    name = "кот" * 90 + ".jpg"
    path = packed(tmp_path / "0.tar", (plain(name), b"data"), (plain("b"), b""), form=form)
    assert [(m.name, m.size) for m in read_members(path)] == [(name, 4), ("b", 0)]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        for _ in read_members(path):
            pass
    assert caught.value.message.startswith(f"{path} cannot be read as a shard: ")
    assert "\n" not in caught.value.message
    return caught.value.message


def of_kind(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = plain("a.jpg")
    info.type, info.linkname = kind, target
    return info


KINDS = {
    "a hard link": of_kind(tarfile.LNKTYPE, "b.jpg"),
    "a symbolic link": of_kind(tarfile.SYMTYPE, "/etc/passwd"),
    "a device": of_kind(tarfile.CHRTYPE),
    "a folder": of_kind(tarfile.DIRTYPE),
    "a pipe": of_kind(tarfile.FIFOTYPE),
    "an unknown kind": of_kind(b"Z"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_are_refused(kind: str, tmp_path: Path) -> None:
    assert kind in refused(packed(tmp_path / "0.tar", (KINDS[kind], b"")))


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/etc/passwd", "a/b.jpg", "..", ".", "a\\b", "a\nb", "a\x1b[2J", "d/" + "e" * 98],
)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_that_lead_elsewhere(name: str, form: int, tmp_path: Path) -> None:
    message = refused(packed(tmp_path / "0.tar", (plain(name), b"x"), form=form))
    assert "not a plain file name" in message or "in a folder" in message
    assert "\x1b" not in message


def changed(place: int, data: bytes, again: bool = True) -> Callable[[bytearray], None]:
    """Bytes of the first header are replaced, and its checksum made right."""

    def change(tar: bytearray) -> None:
        tar[place : place + len(data)] = data
        if again:
            tar[148:156] = b" " * 8
            tar[148:156] = b"%06o\0 " % sum(tar[:512])

    return change


DAMAGED = {
    "checksum": changed(0, b"zz", again=False),
    "checksum of letters": changed(148, b"notoctal", again=False),
    "size beyond the end": changed(124, b"00000777777\0"),
    "size of gigabytes": changed(124, b"77777777777\0"),
    "size in binary": changed(124, b"\x80" + bytes(6) + b"\1" + bytes(4)),
    "negative size": changed(124, b"\xff" * 12),
    "size of letters": changed(124, b"hello world\0"),
    "no size": changed(124, bytes(12)),
    "name that is not UTF-8": changed(0, b"\xff\xfe"),
    "no name": changed(0, bytes(100)),
    "folder before the name": changed(345, b"folder"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_headers(name: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "0.tar", (plain("a.jpg"), b"x" * 700), (plain("b.jpg"), b"y"))
    data = bytearray(path.read_bytes())
    DAMAGED[name](data)
    path.write_bytes(data)
    refused(path)


def pax(records: bytes) -> bytes:
    info = plain("x")
    info.type, info.size = b"x", len(records)
    body = records + bytes(-len(records) % 512)
    after = plain("a.jpg")
    return info.tobuf(tarfile.USTAR_FORMAT) + body + after.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "records",
    [
        b"12 size=999\n",
        b"22 GNU.sparse.major=1\n",
        b"9999999 path=a\n",
        b"0 path=a\n",
        b"5 path=a\n",
        b"11 path=abc",
        b"no record",
        b"14 path=../../\n",
        b"12 path=\xff\xff\xff\n"[:12] + b"",
        b"9 path=\n" + b"x" * 70_000,
    ],
)
def test_hostile_pax_headers(records: bytes, tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(pax(records))
    refused(tmp_path / "0.tar")


def test_cut_off_and_not_a_tar(tmp_path: Path) -> None:
    path = packed(tmp_path / "0.tar", (plain("a.jpg"), b"x" * 700), (plain("b.jpg"), b"y"))
    data = path.read_bytes()
    for length in (0, 1, 511, 512, 600, 1211, 1536, 2000, 2048, 2560):
        path.write_bytes(data[:length])
        refused(path)
    path.write_bytes(b"\x1f\x8b" + bytes(600))
    assert "not a tar" in refused(path)
    path.write_bytes(b"<html>" * 200)
    assert "not a tar" in refused(path)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    assert "not a file" in refused(tmp_path / "pipe.tar")
    assert "not a file" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "none.tar")


def test_a_sparse_tar_of_a_terabyte_ends_at_its_end(tmp_path: Path) -> None:
    path = packed(tmp_path / "0.tar", (plain("a.jpg"), b"x"))
    os.truncate(path, 1 << 40)
    assert [each.name for each in read_members(path)] == ["a.jpg"]
