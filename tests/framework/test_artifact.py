"""The folder of an artifact: whole or not at all, and every changed byte noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine import artifact
from engine.errors import ArtifactError


def write(folder: Path, text: str = "a: 1\n") -> Path:
    with artifact.writing(folder) as temporary:
        (temporary / artifact.CONFIG).write_text(text, encoding="utf-8")
        (temporary / artifact.WEIGHTS).write_bytes(b"w" * 100)
        (temporary / artifact.TOKENIZER).write_text("{}", encoding="utf-8")
        artifact.seal(temporary, {"name": "x"})
    return folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = artifact.read_manifest(write(tmp_path / "a"))
    assert manifest["name"] == "x"
    assert manifest["files"][artifact.WEIGHTS]["bytes"] == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("name", [artifact.CONFIG, artifact.WEIGHTS, artifact.TOKENIZER])
def test_one_changed_byte_is_noticed(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "a")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError, match="was changed"):
        artifact.read_manifest(folder)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / artifact.WEIGHTS).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        artifact.read_manifest(folder)


def test_an_error_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "old: 1\n")
    with pytest.raises(KeyboardInterrupt), artifact.writing(folder) as temporary:
        (temporary / artifact.CONFIG).write_text("new: 1\n", encoding="utf-8")
        raise KeyboardInterrupt
    assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "old: 1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_artifact_is_replaced_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", "old: 1\n")
    (folder / "left-over.txt").write_text("x", encoding="utf-8")
    write(folder, "new: 1\n")
    assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "new: 1\n"
    assert not (folder / "left-over.txt").exists()
    artifact.read_manifest(folder)


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "cat.jpg").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="is no artifact"):
        write(mine)
    assert (mine / "cat.jpg").read_bytes() == b"x"


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "files": []}',
        '{"format": 99, "files": {}}',
        '{"format": 1, "files": {"../../etc/passwd": {"sha256": "0", "bytes": 1}}}',
        '{"format": 1, "files": {}}',
        "[" * 100_000,
    ],
)
def test_a_bad_manifest_is_an_error_of_ours(tmp_path: Path, manifest: str) -> None:
    folder = write(tmp_path / "a")
    (folder / artifact.MANIFEST).write_text(manifest, encoding="utf-8")
    with pytest.raises(ArtifactError):
        artifact.read_manifest(folder)


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        artifact.read_manifest(tmp_path / "none")
    with pytest.raises(ArtifactError, match="is no artifact"):
        artifact.read_manifest(tmp_path)


def test_the_manifest_is_json_with_a_digest_of_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    manifest = json.loads((folder / artifact.MANIFEST).read_text(encoding="utf-8"))
    assert set(manifest["files"]) == {p.name for p in folder.iterdir()} - {artifact.MANIFEST}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == artifact.sha256(folder / name)


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with artifact.writing(tmp_path / "a") as folder:
            (folder / "model.safetensors").touch(mode=0o600)
            artifact.seal(folder, {})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o644}
