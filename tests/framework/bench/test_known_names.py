"""What the leaderboard says of class names that a model met without a picture of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from engine.bench.contamination import known_names
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig

CLASSES = ["goldfish, Carassius auratus", "African elephant", "coffee mug", "wok", "pier"]
PAIRS = "кошка\tcat\nзолотая рыбка\tgoldfish\nслон\telephant\nсамолёт\tairplane\n"
NAMES = ["Золотая  рыбка", "слон", "самолет", "инь и янь", "wok"]


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    """A model fitted on a classifier's head, its texts taught by a few pairs."""
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=len(CLASSES))
    save_file(model.state_dict(), tmp_path / "test_vit.safetensors")
    (tmp_path / "names.json").write_text(json.dumps(CLASSES), encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    tower = {"use": "timm", "arch": "test_vit",
             "weights": {"from": f"file:{tmp_path / 'test_vit.safetensors'}"}}  # fmt: skip
    head = {"use": "classifier_head", "tower": tower, "names": str(tmp_path / "names.json")}
    text = {"use": "bag_of_ngrams", "vocab_size": 100, "width": 8, "out_width": 4,
            "tokenizer": {"use": "char_ngrams"}}  # fmt: skip
    projection = {"vision": {"use": "whitened", "of": head}, "text": {"use": "identity"}}
    train = {
        "use": "parallel_texts",
        "path": str(tmp_path / "pairs.tsv"),
        "languages": ["ru", "en"],
    }
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps({
        "engine": 1, "name": "names", "data": {"train": train},
        "model": {"embed_dim": 4, "vision": tower, "text": text, "projection": projection},
    }), encoding="utf-8")  # fmt: skip
    return load_config(path)


def test_class_names_and_lexicon_entries_are_named(config: EngineConfig) -> None:
    """Spaces, case and ё aside; a classifier's names are met by their translations, too."""
    known = known_names(config, NAMES)
    assert known.classifier == {"Золотая  рыбка", "слон", "wok"}
    assert known.texts == {"Золотая  рыбка", "слон", "самолет"}
    assert known.classes == 5
    note = known.note(len(NAMES))
    assert "contain 3 of these 5 class names" in note
    assert "3 of 5 class names are among the training texts" in note


def test_a_part_that_is_not_here_is_left_out(config: EngineConfig, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").unlink()
    known = known_names(config, NAMES)
    assert (known.texts, known.classifier) == (frozenset(), frozenset({"wok"}))
    (tmp_path / "names.json").unlink()
    assert known_names(config, NAMES).note(5) == ""
