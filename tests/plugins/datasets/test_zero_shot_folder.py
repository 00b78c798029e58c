"""The contest's evaluation folders."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image, features

from engine.contracts.dataset import Record
from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets.settings import ZeroShotFolderSettings
from engine_plugins.datasets.zero_shot import ZeroShotFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images of two classes."""
    folder = tmp_path / "animals"
    (folder / "img").mkdir(parents=True)
    for name in ("b.jpg", "a.PNG", "c.jpeg"):
        kind = "PNG" if name.endswith("PNG") else "JPEG"
        Image.new("RGB", (8, 6), "red").save(folder / "img" / name, format=kind)
    (folder / "classes.json").write_text('["кошка", "собака"]', encoding="utf-8")
    return folder


def opened(folder: Path, truth: object = None) -> ZeroShotFolder:
    path = None
    if truth is not None:
        path = folder.parent / "gt.json"
        path.write_text(truth if isinstance(truth, str) else json.dumps(truth), encoding="utf-8")
    return ZeroShotFolder(ZeroShotFolderSettings(path=folder, truth=path))


def test_a_folder(folder: Path) -> None:
    (folder / "img" / "notes.txt").write_text("no image")
    (folder / "img" / "._b.jpg").write_bytes(b"what a Mac leaves behind")
    data = opened(folder)
    assert (data.name, data.classes, len(data)) == ("animals", ("кошка", "собака"), 3)
    assert [data.record(i) for i in range(3)] == [Record("a"), Record("b"), Record("c")]
    assert data.image(0).size == (8, 6)
    assert list(data.texts()) == []
    with pytest.raises(IndexError):
        data.record(3)
    with pytest.raises(IndexError):
        data.image(-1)


def test_labels(folder: Path) -> None:
    data = opened(folder, {"animals": {"a": 1, "c": 0, "gone": 0}, "other": {"x": 99}})
    assert [data.record(i).label for i in range(3)] == [1, None, 0]
    assert data.unmatched == ("gone",)
    assert list(data.texts()) == ["собака", "кошка"]


def test_a_name_for_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert opened(Path()).name == "animals"


def test_pickle(folder: Path) -> None:
    data = pickle.loads(pickle.dumps(opened(folder, {"animals": {"a": 1}})))
    assert data.record(0) == Record("a", label=1)
    assert data.image(2).size == (8, 6)


def test_a_broken_image_costs_that_image(folder: Path) -> None:
    (folder / "img" / "b.jpg").write_bytes(b"<html>")
    data = opened(folder)
    with pytest.raises(BrokenImageError, match=r"b\.jpg.*web page"):
        data.image(1)
    assert data.image(2).size == (8, 6)


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ("[]", "empty list"),
        ('{"a": 1}', "not a JSON list"),
        ('["a", "b", "a"]', "classes 0 and 2 are both 'a'"),
        ('["a", 5]', "class 1 is 5"),
        ('["a", " "]', "class 1"),
        ("[", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (b"\xff", "not UTF-8"),
        (None, "no such file"),
    ],
)
def test_bad_classes(folder: Path, classes: str | bytes | None, reason: str) -> None:
    path = folder / "classes.json"
    path.unlink()
    if classes is not None:
        path.write_bytes(classes if isinstance(classes, bytes) else classes.encode())
    with pytest.raises(DataError, match=r"classes\.json") as caught:
        opened(folder)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        ({"other": {}}, "no data set `animals` (it has: other)"),
        ([], "no data set"),
        ({"animals": []}, "no data set"),
        ({"animals": {"a": 2}}, "classes 0 to 1"),
        ({"animals": {"a": -1}}, "classes 0 to 1"),
        ({"animals": {"a": True}}, "has class true"),
        ({"animals": {"a": "0"}}, 'has class "0"'),
        ("{", "not JSON"),
    ],
)
def test_bad_truth(folder: Path, truth: object, reason: str) -> None:
    with pytest.raises(DataError, match=r"gt\.json") as caught:
        opened(folder, truth)
    assert reason in caught.value.message


def test_missing_parts(folder: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        opened(folder / "none")
    for image in (folder / "img").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="no image"):
        opened(folder)
    (folder / "img").rmdir()
    with pytest.raises(DataError, match="img: no such folder"):
        opened(folder)


def test_two_files_of_one_id(folder: Path) -> None:
    Image.new("RGB", (3, 3)).save(folder / "img" / "b.png")
    with pytest.raises(DataError, match=r"b\.jpg and b\.png"):
        opened(folder)


def test_the_contests_sample(contest_sample: Path) -> None:
    data = ZeroShotFolder(
        ZeroShotFolderSettings(path=contest_sample / "caltech101", truth=contest_sample / "gt.json")
    )
    truth = json.loads((contest_sample / "gt.json").read_text(encoding="utf-8"))["caltech101"]
    rows = [data.record(i) for i in range(len(data))]
    assert {row.id: row.label for row in rows} == truth
    assert len(data.classes) == 19
    assert data.unmatched == ()
    assert all(data.image(i).mode == "RGB" for i in range(0, len(data), 57))


def test_pictures_of_every_name_are_used(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever they end with, or do not; the rest is named."""
    for path in (folder / "img").iterdir():
        path.unlink()
    kinds = {
        "a.JPEG": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d.gif": "GIF", "e.BMP": "BMP",
        "f.tif": "TIFF", "g.tiff": "TIFF", "h.jfif": "JPEG", "i": "JPEG", "j": "PNG",
        "k.photo": "WEBP", "l.jpg_large": "GIF", "m.jpe": "JPEG",
    }  # fmt: skip
    if features.check_module("avif"):
        kinds["n.avif"] = "AVIF"
    for name, kind in kinds.items():
        Image.new("RGB", (8, 6), "red").save(folder / "img" / name, kind)
    (folder / "img" / "o.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "img" / "p.jpg").mkdir()
    (folder / "img" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "img" / "more").mkdir()
    os.mkfifo(folder / "img" / "pipe")
    (folder / "img" / "empty").touch()
    data = opened(folder)
    assert [data.record(i).id for i in range(len(data))] == sorted(
        [*(n[0] for n in kinds), "o", "p"]
    )
    for index in range(len(kinds)):
        assert data.image(index).size == (8, 6)
    for index in range(len(kinds), len(data)):
        with pytest.raises(BrokenImageError):
            data.image(index)
    assert data.left_out == ("Thumbs.db", "empty", "more", "pipe")
    assert "4 files are not pictures and are left out (first: 'Thumbs.db')" in caplog.text


def test_no_picture_among_the_files(folder: Path) -> None:
    for path in (folder / "img").iterdir():
        path.unlink()
    (folder / "img" / "a.txt").write_text("x")
    with pytest.raises(DataError, match="none of its 1 files is a picture"):
        opened(folder)
