"""A checkpoint in each old checkpoint adapter is imported and gives its own program's output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.contracts import last_place, pad_tokens
from engine.core.build import Built, read_artifact, save
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.exchange.importing import import_checkpoint

from .old_checkpoints import CLUSTERS, MAKERS, VOCABULARY, Old

LENGTHS = (10, 2, 5, 1, 7, 3, 4, 10)


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(1)
    with torch.no_grad():
        yield


def config_of(old: Old) -> EngineConfig:
    data = {"engine": 1, "name": "old", "model": old.config,
            "data": {"train": {"use": "shapes", "size": 64}}}  # fmt: skip
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def texts(old: Old) -> list[list[int]]:
    rows = [torch.randint(4, VOCABULARY - 1, (n - 1,)).tolist() for n in LENGTHS]
    return [[*row, old.end] for row in rows]


def check(built: Built, old: Old) -> None:
    """Images and padded texts against the old program, one at a time."""
    pixels, rows = torch.randn(3, 3, 16, 16), texts(old)
    batch = pad_tokens(rows, pad_id=0)
    assert batch["ids"][:, -1].tolist() != [old.end] * len(rows)
    images, found = built.model.encode_image(pixels), built.model.encode_text(**batch)
    expected = torch.stack([old.text(torch.tensor(row)) for row in rows])
    torch.testing.assert_close(images, old.image(pixels), rtol=0, atol=1e-5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert float(built.model.logit_scale) == float(old.tensors["logit_scale"])
    assert len({round(float(x), 3) for x in found[:, 0]}) > 4  # the texts differ


def write_torch(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


def write_half(tensors: dict[str, Tensor], path: Path) -> None:
    """float16, as OpenAI's, from data-parallel training, inside a training checkpoint."""
    half = {n: t.half() if t.dtype == torch.float32 else t for n, t in tensors.items()}
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in half.items()}}, path)


def write_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)


WRITERS = {"old.pt": write_torch, "half.pt": write_half, "old.safetensors": write_safetensors}


@pytest.mark.parametrize("file", list(WRITERS))
@pytest.mark.parametrize("name", list(MAKERS))
@pytest.mark.usefixtures("no_tokenizer")
def test_imported_it_gives_its_own_output(name: str, file: str, tmp_path: Path) -> None:
    old = MAKERS[name]()
    WRITERS[file](old.tensors, tmp_path / file)
    built = import_checkpoint(tmp_path / file, config_of(old))
    check(built, old)
    assert all(p.dtype == torch.float32 for p in built.model.parameters())
    for origin in built.manifest["weights"].values():
        assert origin["initialised"] in ("loaded", "none"), origin
        assert origin["source"] == f"file:{file} (layout {old.layout})"


def test_several_clusters_are_used() -> None:
    """Else the test above would say little of the clustered layout."""
    old = MAKERS["ruclip_first, clustered"]()
    names = [f"text_encoder.projection.{2 * k}.linear1.weight" for k in range(CLUSTERS)]
    assert all(name in old.tensors for name in names)
    rows = [torch.tensor(row) for row in texts(old)]
    before = [old.text(row) for row in rows]
    touched = 0
    for name in names:  # the maker's modules share these tensors
        old.tensors[name].mul_(-1)
        after = [old.text(row) for row in rows]
        touched += any(not torch.equal(a, b) for a, b in zip(after, before, strict=True))
        old.tensors[name].mul_(-1)
    assert touched > 1


@pytest.mark.slow
def test_from_a_checkpoint_to_an_artifact_and_back(tmp_path: Path) -> None:
    """With its own tokenizer, trained on the config's queries."""
    old = MAKERS["ruclip_first, clustered"]()
    write_torch(old.tensors, tmp_path / "old.pt")
    built = import_checkpoint(tmp_path / "old.pt", config_of(old))
    save(built, tmp_path / "artifact")
    again = read_artifact(tmp_path / "artifact")
    check(again, old)
    row = again.tokenizer.encode(["красный круг"], 10)[0]
    batch: dict[str, Any] = pad_tokens([row], pad_id=again.tokenizer.pad_id)
    assert int(last_place(batch["mask"])[0]) == len(row) - 1
    torch.testing.assert_close(
        again.model.encode_text(**batch)[0], old.text(torch.tensor(row)), rtol=0, atol=1e-5
    )
