"""The folder of an export: what may be replaced, and that nothing half-written is ever left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engine.errors import ArtifactError
from engine.exchange.folder import MANIFEST, check_target, seal, writing


def write(folder: Path, text: str) -> None:
    with writing(folder) as temporary:
        (temporary / "file.txt").write_text(text)
        seal(temporary, {"name": text})


def test_an_earlier_export_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    (tmp_path / "out" / "more.txt").write_text("from the user")
    with pytest.raises(ArtifactError, match=r"also holds more\.txt"):
        write(tmp_path / "out", "two")
    (tmp_path / "out" / "more.txt").unlink()
    write(tmp_path / "out", "two")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "file.txt"]
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["name"] == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_manifest_holds_every_file(tmp_path: Path) -> None:
    write(tmp_path / "out", "one")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    digest = hashlib.sha256(b"one").hexdigest()
    assert manifest["files"] == {"file.txt": {"sha256": digest, "bytes": 3}}
    assert manifest["format"] == 1


def test_after_an_error_nothing_is_left_and_the_old_one_stands(tmp_path: Path) -> None:
    write(tmp_path / "old", "one")
    for name in ("old", "new"):
        with pytest.raises(KeyboardInterrupt), writing(tmp_path / name) as temporary:
            (temporary / "file.txt").write_text("half")
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "file.txt").read_text() == "one"


@pytest.mark.parametrize("name", ["engine.json", "notes.txt"])
def test_other_folders_are_not_replaced(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / name).write_text("{}")
    what = "is an artifact" if name == "engine.json" else "exists and is not an export"
    with pytest.raises(ArtifactError, match=what), writing(folder):
        pytest.fail("it must not come to writing")
    assert [path.name for path in folder.iterdir()] == [name]


def test_an_empty_folder_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_target(tmp_path / "empty")
    check_target(tmp_path / "no" / "such" / "folder")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="exists and is not an export"):
        check_target(tmp_path / "file")
    with pytest.raises(ArtifactError, match="file is not a folder"):
        check_target(tmp_path / "file" / "below")
