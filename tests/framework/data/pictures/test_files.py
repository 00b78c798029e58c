"""Pictures are found by their endings or first bytes, in every folder, whatever their names are."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from engine.data.pictures.files import find_pictures, is_picture_file
from engine.errors import DataError


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), "red").save(path, "PNG")
    return path


def test_every_picture_is_found_once_and_in_order(tmp_path: Path) -> None:
    inside = [picture(tmp_path / name) for name in ("b.png", "a/x.JPG", "a/z/ё.webp", "без")]
    raw = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    inside.append(picture(raw))
    picture(tmp_path / ".hidden" / "x.png")
    picture(tmp_path / ".x.png")
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "broken.heic").write_bytes(b"")  # meant as a picture: to be listed as broken
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to(tmp_path)
    found = list(find_pictures(tmp_path))
    assert sorted(found) == sorted([*inside, tmp_path / "broken.heic"])
    assert found == list(find_pictures(tmp_path))
    assert not is_picture_file(tmp_path / "pipe")


def test_folders_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="no such folder"):
        list(find_pictures(tmp_path / "none"))
    with pytest.raises(DataError, match="not a folder"):
        list(find_pictures(picture(tmp_path / "a.png")))
    if os.geteuid() == 0:
        return  # everything can be read
    (tmp_path / "closed").mkdir(0)
    with caplog.at_level(logging.WARNING):
        assert len(list(find_pictures(tmp_path))) == 1
    assert "cannot be read" in caplog.text
