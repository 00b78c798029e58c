"""The folder of an artifact: whole or not at all, and every changed byte noticed."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import socket
from pathlib import Path

import pytest

from engine.core import artifact
from engine.core.model_path import model_folder
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
    write(folder, "new: 1\n")
    assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "new: 1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    artifact.read_manifest(folder)


def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "cat.jpg").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        write(mine)
    assert (mine / "cat.jpg").read_bytes() == b"x"


def leave(path: Path, kind: str) -> None:
    """Put something of the user's there."""
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "inner.txt").write_text("mine")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
            made.bind(path.name)


KINDS = ["file", "folder", "empty folder", "link", "pipe", "socket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mine", artifact.TOKENIZER])
def test_what_is_not_ours_beside_ours_is_refused_by_name(
    tmp_path: Path, kind: str, name: str
) -> None:
    folder = write(tmp_path / "a", "old: 1\n")
    (folder / name).unlink(missing_ok=True)
    leave(folder / name, kind)
    if (kind, name) == ("file", artifact.TOKENIZER):  # a listed file that was edited stays ours
        write(folder, "new: 1\n")
        return
    with pytest.raises(ArtifactError, match=name):
        write(folder, "new: 1\n")
    assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "old: 1\n"
    assert os.path.lexists(folder / name)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"name": "my game engine"}',
        "[1]",
        '{"format": 1, "files": {}}',
        '{"format": 1, "files": {"a.txt": {"sha256": "0", "bytes": 1}}}',
        '{"format": 1, "files": ["config.yaml", "model.safetensors", "tokenizer.json"]}',
        "[" * 100_000,
    ],
)
def test_a_foreign_engine_json_makes_no_artifact(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "game"
    folder.mkdir()
    (folder / artifact.MANIFEST).write_text(text)
    (folder / "a.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is not an artifact"):
        write(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", artifact.MANIFEST]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_manifest_that_is_not_a_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    folder = write(tmp_path / "a")
    (folder / artifact.MANIFEST).unlink()
    leave(folder / artifact.MANIFEST, kind)
    with pytest.raises(ArtifactError, match="is not an artifact"):
        write(folder)


def test_a_link_to_an_artifact_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    real = write(tmp_path / "disk" / "real", "old: 1\n")
    link = tmp_path / "link"
    link.symlink_to("disk/real")
    write(link, "new: 1\n")
    assert link.is_symlink()
    assert (real / artifact.CONFIG).read_text() == "new: 1\n"
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["real"]
    dangling = tmp_path / "later"
    dangling.symlink_to("disk/later")
    write(dangling)
    assert (tmp_path / "disk" / "later" / artifact.CONFIG).is_file()


def test_permissions_are_passed_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    folder.chmod(0o700)
    (folder / artifact.WEIGHTS).chmod(0o600)
    write(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / artifact.WEIGHTS).stat().st_mode & 0o777 == 0o600


def _save_often(folder: Path, number: int) -> None:
    for turn in range(15):
        write(folder, f"writer: {number}\nturn: {turn}\n")


def test_four_writers_lose_no_save(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_save_often, args=(folder, i)) for i in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    artifact.read_manifest(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_writer_says_who_is_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.core.files import folders

    monkeypatch.setattr(folders, "WAIT", 0.1)
    folder = write(tmp_path / "a", "old: 1\n")
    with artifact.writing(folder) as temporary:
        with pytest.raises(ArtifactError, match=rf"is in use by .*process {os.getpid()} on"):
            write(folder)
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
    artifact.read_manifest(folder)


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
    with pytest.raises(ArtifactError, match="is not an artifact"):
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


def test_a_training_run_means_its_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run / "start")
    assert model_folder(run) == run
    with pytest.raises(ArtifactError, match="is not an artifact") as caught:
        artifact.read_manifest(model_folder(run))
    assert "--resume" in (caught.value.hint or "")
    write(run / "model")
    assert model_folder(run) == run / "model"
    assert model_folder(run / "model") == run / "model"
    assert model_folder(tmp_path / "none") == tmp_path / "none"
    (run / artifact.MANIFEST).symlink_to(
        "nowhere"
    )  # damaged, but an artifact: it is reported as one
    assert model_folder(run) == run
