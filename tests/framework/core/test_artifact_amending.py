"""Some files of an artifact replaced, all of them or none, and the rest not even copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.core import artifact
from engine.errors import ArtifactError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    with artifact.writing(folder) as temporary:
        (temporary / artifact.CONFIG).write_text("a: 1\n", encoding="utf-8")
        (temporary / artifact.WEIGHTS).write_bytes(b"w" * 100)
        (temporary / artifact.TOKENIZER).write_text("{}", encoding="utf-8")
        artifact.seal(temporary, {"name": "x"})
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    return folder


def test_files_are_replaced_and_the_rest_stays(folder: Path) -> None:
    weights = (folder / artifact.WEIGHTS).stat().st_ino
    manifest = {**artifact.read_manifest(folder), "clusters": {"count": 3}}
    names = (artifact.CONFIG, artifact.CLUSTERS, "never-written.txt")
    with artifact.amending(folder, manifest, names) as temporary:
        assert not (temporary / artifact.CONFIG).exists()
        (temporary / artifact.CONFIG).write_text("a: 2\n", encoding="utf-8")
        (temporary / artifact.CLUSTERS).write_bytes(b"c")
        assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "a: 1\n"
    found = artifact.read_manifest(folder)
    assert found["clusters"] == {"count": 3}
    assert sorted(found["files"]) == sorted(
        [artifact.CONFIG, artifact.CLUSTERS, artifact.WEIGHTS, artifact.TOKENIZER]
    )
    assert (folder / artifact.CONFIG).read_text(encoding="utf-8") == "a: 2\n"
    assert (folder / artifact.WEIGHTS).stat().st_ino == weights
    assert (folder / "notes" / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_error_leaves_everything_as_it_was(folder: Path) -> None:
    manifest = artifact.read_manifest(folder)
    with (
        pytest.raises(KeyboardInterrupt),
        artifact.amending(folder, manifest, (artifact.CONFIG,)) as temporary,
    ):
        (temporary / artifact.CONFIG).write_text("a: 2\n", encoding="utf-8")
        raise KeyboardInterrupt
    assert artifact.read_manifest(folder) == manifest
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_without_hard_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    manifest = artifact.read_manifest(folder)
    with artifact.amending(folder, manifest, (artifact.CONFIG,)) as temporary:
        (temporary / artifact.CONFIG).write_text("a: 3\n", encoding="utf-8")
    artifact.read_manifest(folder)


def test_clusters_alone_may_be_replaced_by_an_artifact(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for name in (artifact.CLUSTERS, artifact.CLUSTERS_JSON, artifact.CLUSTERS_PAGE):
        (place / name).write_bytes(b"x")
    artifact.check_replaceable(place)
    (place / "cat.jpg").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"also holds cat\.jpg"):
        artifact.check_replaceable(place)


def test_what_lies_in_an_artifact_is_kept_as_it_is(folder: Path, tmp_path: Path) -> None:
    """Links are not followed, no mode is changed, nothing is opened: a pipe would hang."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    (folder / "link").symlink_to(secret)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    (folder / "notes").chmod(0o711)
    manifest = artifact.read_manifest(folder)
    with artifact.amending(folder, manifest, (artifact.CONFIG,)) as temporary:
        (temporary / artifact.CONFIG).write_text("a: 2\n", encoding="utf-8")
    assert secret.stat().st_mode & 0o777 == 0o600
    assert (folder / "link").readlink() == secret
    assert (folder / "dangling").readlink() == Path("nowhere")
    assert (folder / "pipe").is_fifo()
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o750
    assert (folder / "notes").stat().st_mode & 0o777 == 0o711
    assert (folder / "notes" / "mine.txt").read_text(encoding="utf-8") == "mine"
    artifact.read_manifest(folder)


def test_an_artifact_that_changed_in_the_meantime_is_not_amended(folder: Path) -> None:
    manifest = artifact.read_manifest(folder)
    (folder / "notes" / "mine.txt").unlink()
    (folder / "notes").rmdir()
    with artifact.writing(folder) as temporary:
        for name in (artifact.CONFIG, artifact.WEIGHTS, artifact.TOKENIZER):
            (temporary / name).write_text("{}", encoding="utf-8")
        artifact.seal(temporary, {"name": "y"})
    with (
        pytest.raises(ArtifactError, match="in the meantime"),
        artifact.amending(folder, manifest, (artifact.CONFIG,)),
    ):
        pytest.fail("it must not come to writing")
    assert artifact.read_manifest(folder)["name"] == "y"
