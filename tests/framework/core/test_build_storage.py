"""Artifacts in every storage, and the limit on the whole folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.filling import tied_names
from engine.core import artifact
from engine.core.build import build, read_artifact, save
from engine.core.registry import Registry
from engine.core.size import artifact_size, config_size
from engine.errors import LimitError

from .small_builds import BAG, artifact_size_of, config_of, made, tied, tied_registry


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """See :func:`tied_registry`."""
    with tied_registry() as found:
        yield found


# --- storage and limits ------------------------------------------------------------------------

STORAGES = [
    {},
    {"default": "float16"},
    {"default": "bfloat16", "keep": ["norms", "biases"], "keep_as": "float32"},
    {"default": "int8_rows"},
    {"default": "float16", "rules": [{"match": "text.first.*", "use": "int8_rows"}]},
]


@pytest.mark.parametrize("storage", STORAGES)
def test_an_artifact_in_any_storage(
    registry: Registry, tmp_path: Path, storage: dict[str, Any]
) -> None:
    config = config_of(registry, tied("weight"), storage=storage)
    built = made(config)
    predicted = config_size(config)
    report = save(built, tmp_path / "a", registry)
    assert report.total == predicted.total == (tmp_path / "a" / artifact.WEIGHTS).stat().st_size
    assert report.tensors == predicted.tensors == artifact_size_of(tmp_path / "a", registry).tensors
    assert sum(tensor.bytes for tensor in report.tensors) + report.header == report.total
    assert [sum(part.storage.values()) for part in report.parts] == [p.bytes for p in report.parts]
    manifest = json.loads((tmp_path / "a" / artifact.MANIFEST).read_text(encoding="utf-8"))
    listed = {name for entry in manifest["storage"] for name in entry["tensors"]}
    assert listed == {tensor.name for tensor in report.tensors}
    again = read_artifact(tmp_path / "a", registry)
    assert tied_names(again.model) == tied_names(built.model)
    for name, tensor in built.model.state_dict().items():
        found = again.model.state_dict()[name]
        assert found.dtype == tensor.dtype
        assert torch.allclose(found, tensor, rtol=8e-3, atol=tensor.abs().max().item() / 250), name
    save(again, tmp_path / "b", registry)  # decoded and encoded once more: nothing drifts
    assert (tmp_path / "b" / artifact.WEIGHTS).read_bytes() == (
        tmp_path / "a" / artifact.WEIGHTS
    ).read_bytes()


def test_an_artifact_in_any_storage_is_a_source(registry: Registry, tmp_path: Path) -> None:
    built = made(config_of(registry, BAG, storage={"default": "int8_rows"}, seed=4))
    save(built, tmp_path / "a", registry)
    stored = read_artifact(tmp_path / "a", registry).model.text.state_dict()
    source = {**BAG, "weights": {"from": f"artifact:{tmp_path / 'a'}"}}
    found = build(config_of(registry, source)).model.text.state_dict()
    assert all(torch.equal(stored[name], found[name]) for name in stored)


def test_the_whole_folder_has_a_limit(registry: Registry, tmp_path: Path) -> None:
    config = config_of(registry, BAG)
    report = save(made(config), tmp_path / "a", registry)
    whole = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    assert report.folder == whole > report.total
    assert artifact_size(tmp_path / "a").folder == whole
    tight = config_of(registry, BAG, limits={"folder": whole - 100})
    with pytest.raises(LimitError, match="all files of small together"):
        save(made(tight), tmp_path / "b", registry)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    # More digits in the config are more bytes of the folder itself.
    roomy = config_of(registry, BAG, limits={"folder": whole + 100})
    assert save(made(roomy), tmp_path / "c", registry).folder_over == 0
    with pytest.raises(LimitError, match="all files"):  # before anything is built
        build(config_of(registry, BAG, limits={"folder": report.total + 10}))
