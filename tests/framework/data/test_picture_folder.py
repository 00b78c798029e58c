"""A folder of pictures is a data set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from engine.data.picture_folder import PictureFolder
from engine.errors import BrokenImageError, DataError


def test_its_rows_are_the_pictures_below_it(tmp_path: Path) -> None:
    (tmp_path / "кот").mkdir()
    Image.new("RGB", (3, 2), "red").save(tmp_path / "кот" / "1.png")
    (tmp_path / "2.jpg").write_bytes(b"no picture")
    Image.new("RGB", (3, 2)).save(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"), "PNG")
    folder = PictureFolder(tmp_path, ["a"])
    ids = [folder.record(i).id for i in range(len(folder))]
    assert ids == ["2.jpg", "\\udcff.png", "кот/1.png"]
    assert folder.image(2).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(BrokenImageError, match="not a JPEG"):
        folder.image(0)
    for wrong in (-1, 3):
        with pytest.raises(IndexError):
            folder.image(wrong)
        with pytest.raises(IndexError):
            folder.record(wrong)


def test_a_folder_without_a_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="has no picture"):
        PictureFolder(tmp_path)
