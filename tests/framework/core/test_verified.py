"""What was read whole once is not read again; whatever changes a file forgets it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.core import artifact, verified
from engine.core.build import build, read_artifact, save
from engine.core.config import load_config
from engine.errors import ArtifactError

CONFIG = """
engine: 1
name: large
model:
  embed_dim: 8
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text:
    use: bag_of_tokens
    width: 16
    vocab_size: 20000
    tokenizer: {use: trained, from: scratch}
  projection: {vision: {use: linear}, text: {use: linear}}
data: {train: {use: shapes, count: 40}}
"""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the files whose sha256 was computed; the memory lies in the test's folder."""
    names: list[str] = []
    real = artifact.sha256

    def count(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(artifact, "sha256", count)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ENGINE_VERIFY", raising=False)
    return names


@pytest.fixture
def folder(tmp_path: Path, hashed: list[str]) -> Path:
    """An artifact whose weights have more than a megabyte."""
    path = tmp_path / "large.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    save(build(load_config(path)), tmp_path / "model")
    assert (tmp_path / "model" / artifact.WEIGHTS).stat().st_size > verified.SMALLEST
    hashed.clear()
    return tmp_path / "model"


def test_what_was_written_here_is_not_hashed_again(folder: Path, hashed: list[str]) -> None:
    read_artifact(folder)
    assert artifact.WEIGHTS not in hashed
    assert artifact.CONFIG in hashed  # small files are always read


def test_a_copy_is_read_whole_once(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    time.sleep(2 * verified._FINE)
    for times in (1, 1):
        expected = read_artifact(copy).model.state_dict()
        assert hashed.count(artifact.WEIGHTS) == times
    monkeypatch.setenv("ENGINE_VERIFY", "always")
    found = read_artifact(copy).model.state_dict()
    assert hashed.count(artifact.WEIGHTS) == 2
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def flip_and_hide(path: Path) -> None:
    """With the time of the content put back, as ``cp -p`` or a careful program does."""
    before = path.stat()
    flip(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange(path: Path) -> None:
    """Another file of the same size in its place."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    flip_and_hide(other)
    other.replace(path)


@pytest.mark.parametrize("change", [flip, flip_and_hide, exchange])
def test_a_change_is_found(folder: Path, change: Callable[[Path], None]) -> None:
    read_artifact(folder)
    change(folder / artifact.WEIGHTS)
    with pytest.raises(ArtifactError, match="was changed since"):
        read_artifact(folder)


def test_numbers_that_are_not_finite_are_refused_at_every_reading(folder: Path) -> None:
    """A digest that agrees says nothing of the numbers: both are remembered apart."""
    read_artifact(folder)
    path = folder / artifact.WEIGHTS
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 2)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    tensors[name][1, 1] = torch.nan
    save_file(tensors, path)
    manifest = json.loads((folder / artifact.MANIFEST).read_bytes())
    manifest.pop("files")
    artifact.seal(folder, manifest)
    for _ in range(2):
        with pytest.raises(ArtifactError, match=f"not finite.*{name}"):
            read_artifact(folder)
        time.sleep(2 * verified._FINE)


def test_a_young_state_is_not_remembered(tmp_path: Path, hashed: list[str]) -> None:
    """A second change in the same tick of the clock would not show."""
    path = tmp_path / "file"
    path.write_bytes(bytes(verified.SMALLEST))
    assert not verified.remember(path, verified.state_of(path), ("whole",))
    time.sleep(2 * verified._FINE)
    state = verified.state_of(path)
    assert verified.remember(path, state, ("whole",))
    assert verified.is_known(path, ("whole",))
    assert not verified.is_known(path, ("whole", "finite"))
    assert verified.remember(path, state, ("finite",))
    assert verified.is_known(path, ("whole", "finite"))
    path.write_bytes(bytes(verified.SMALLEST))
    time.sleep(2 * verified._FINE)
    assert not verified.remember(path, state, ("whole",))  # it was changed while it was read
    assert not verified.is_known(path, ("whole",))


@pytest.mark.parametrize(
    "record", ["", "{", "[1]", '{"facts": 3}', '{"facts": ["whole"], "state": [1]}', "[" * 5000]
)
def test_a_damaged_memory_knows_nothing(record: str, tmp_path: Path, hashed: list[str]) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(verified.SMALLEST))
    time.sleep(2 * verified._FINE)
    assert verified.remember(path, verified.state_of(path), ("whole",))
    (kept,) = (tmp_path / "cache" / "engine" / "verified").iterdir()
    kept.write_text(record)
    assert not verified.is_known(path, ("whole",))
    assert verified.remember(path, verified.state_of(path), ("whole",))
    assert verified.is_known(path, ("whole",))


def test_without_a_place_for_it_everything_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hashed: list[str]
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    path = folder / artifact.WEIGHTS
    assert not verified.remember(path, verified.state_of(path), ("whole",))
    read_artifact(folder)
    assert artifact.WEIGHTS in hashed


def test_old_records_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    monkeypatch.setattr(verified, "_KEPT", 2)
    paths = [tmp_path / f"file{number}" for number in range(4)]
    for path in paths:
        path.write_bytes(bytes(verified.SMALLEST))
    time.sleep(2 * verified._FINE)
    known: list[Any] = []
    for path in paths:
        assert verified.remember(path, verified.state_of(path), ("whole",))
        time.sleep(0.01)
    known = [verified.is_known(path, ("whole",)) for path in paths]
    assert known == [False, False, True, True]
