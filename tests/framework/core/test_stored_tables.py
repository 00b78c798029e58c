"""Token tables that stay as they are stored: the same numbers, in the stored bytes alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from engine.core.build import Built, build, read_artifact, save
from engine.core.config import load_config
from engine.core.registry import default_registry
from engine.core.stored_tables import MIN_NUMBERS, StoredTable
from engine.errors import ArtifactError
from engine.evaluate import Predictor, load

ROWS, WIDTH = 20_000, 64
STORAGES = [
    {"use": "int8_rows"}, {"use": "int4_groups"}, {"use": "int4_groups", "symmetric": False},
    {"use": "int8_groups", "group": 32}, {"use": "float8"}, {"use": "float16"},
    {"use": "pq", "width": 16},
]  # fmt: skip
ENCODERS: dict[str, dict[str, Any]] = {
    "rubert": {"n_positions": 64, "max_tokens": 32, "heads": 4, "layers": 1, "width": WIDTH},
    "gpt3small": {"n_positions": 64, "max_tokens": 32, "heads": 4, "layers": 1, "width": WIDTH},
    "bpe_transformer": {"max_tokens": 32, "heads": 4, "layers": 1, "width": WIDTH},
    "bag_of_tokens": {"max_tokens": 32, "layers": 1, "width": WIDTH},
}
TEXTS = ["кошка на окне", "собака", "кошка кошка", "", "два кота и мышь " * 9]


def made(tmp_path: Path, encoder: str, storage: dict[str, Any]) -> Built:
    """A model with a table of 20,000 rows and a vocabulary of a few hundred."""
    path = tmp_path / "m.yaml"
    text = {
        "use": encoder, "vocab_size": ROWS, "tokenizer": {"use": "trained"},
        **ENCODERS[encoder],
    }  # fmt: skip
    rules = [{"match": "text.*embed*.weight", **storage}] if encoder != "gpt3small" else [
        {"match": "text.wte.weight", **storage}]  # fmt: skip
    document = {
        "engine": 1,
        "name": "m",
        "data": {"train": {"use": "shapes", "count": 64}},
        "model": {
            "embed_dim": 16,
            "vision": {"use": "small_vit"},
            "text": text,
            "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
        },
        "storage": {"rules": rules},
    }
    path.write_text(yaml.safe_dump(document))
    return build(load_config(path))


@pytest.mark.parametrize("storage", STORAGES, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_answers_are_those_of_the_decoded_table(
    tmp_path: Path, encoder: str, storage: dict[str, Any]
) -> None:
    if encoder != "rubert" and storage["use"] != "int8_rows":
        pytest.skip("one encoder with every storage is enough")
    save(made(tmp_path, encoder, storage), tmp_path / "a")
    whole, stored = Predictor(read_artifact(tmp_path / "a")), load(tmp_path / "a")
    tables = [m for m in stored.model.text.modules() if isinstance(m, StoredTable)]
    assert len(tables) == 1
    assert np.array_equal(whole.encode_texts(TEXTS), stored.encode_texts(TEXTS))
    # The state dict is that of the whole model, so whatever reads it works.
    mine, other = stored.model.state_dict(), whole.model.state_dict()
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in other)


def test_a_loaded_table_takes_its_stored_bytes(tmp_path: Path) -> None:
    save(made(tmp_path, "rubert", {"use": "int4_groups"}), tmp_path / "a")
    stored = load(tmp_path / "a").model
    (table,) = [m for m in stored.text.modules() if isinstance(m, StoredTable)]
    assert table.rows.bytes == ROWS * (WIDTH // 2 + WIDTH // 32 * 2)
    held = sum(p.numel() for p in stored.text.parameters())
    assert held < MIN_NUMBERS  # the table is not a parameter any more


def test_small_and_plain_tables_are_decoded(tmp_path: Path) -> None:
    made(tmp_path, "rubert", {"use": "float16"})
    small = load_config(Path(tmp_path / "m.yaml"), ["model.text.vocab_size=1000"])
    save(build(small), tmp_path / "b")
    modules = load(tmp_path / "b").model.text.modules()
    assert not any(isinstance(module, StoredTable) for module in modules)


def test_a_stored_table_with_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from engine.core import artifact

    save(made(tmp_path, "rubert", {"use": "int8_rows"}), tmp_path / "a")
    path = tmp_path / "a" / artifact.WEIGHTS
    tensors = load_file(path)
    name = "text.embeddings.word_embeddings.weight.scale"
    tensors[name][15_000] = np.float16(np.inf)
    save_file(tensors, path)
    manifest = read_manifest_of(tmp_path / "a")
    artifact.seal(tmp_path / "a", manifest)
    with pytest.raises(ArtifactError, match="word_embeddings"):
        load(tmp_path / "a")


def read_manifest_of(folder: Path) -> dict[str, Any]:
    import json

    manifest: dict[str, Any] = json.loads((folder / "engine.json").read_text())
    del manifest["files"]
    return manifest


def test_the_registry_has_the_storages() -> None:
    assert {"int4_groups", "int8_groups", "float8", "pq"} <= set(
        default_registry().names("storage")
    )
