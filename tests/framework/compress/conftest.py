"""A small model with a vocabulary of several scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.build import Built, build
from engine.core.config import load_config

sys.path.insert(0, str(Path(__file__).parent))

Model = Callable[..., Built]


@pytest.fixture
def document() -> dict[str, Any]:
    return {
        "engine": 1,
        "name": "small",
        "seed": 3,
        "model": {
            "embed_dim": 24,
            "vision": {"use": "small_vit", "image_size": 32, "width": 32, "layers": 1, "heads": 4},
            "text": {
                "use": "rubert", "vocab_size": 700, "max_tokens": 16, "n_positions": 64,
                "width": 64, "layers": 2, "heads": 4, "tokenizer": {"use": "wordpiece"},
                "pooling": "mean",
            },
            "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
        },
    }  # fmt: skip


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    """A vocab.txt with pieces of Russian, English, Greek, Hebrew and Japanese."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabets = ["абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "abcdefghijklmnopqrstuvwxyz",
                 "αβγδεζηθικλμνξοπρστυφχψω", "אבגדהוזחטיכלמנסעפצקרשת",
                 "日本語一二三四五六七八九十"]  # fmt: skip
    for letters in alphabets:
        pieces += list(letters) + [f"##{c}" for c in letters]
        pieces += [f"{a}{b}" for a, b in zip(letters, letters[3:], strict=False)]
        pieces += [f"##{a}{b}" for a, b in zip(letters, letters[5:], strict=False)]
    folder = tmp_path / "vocab"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    return folder


@pytest.fixture
def model(tmp_path: Path, document: dict[str, Any], vocabulary: Path) -> Model:
    """Builds the small model, with some settings changed."""

    def make(**changes: Any) -> Built:
        text = document["model"]["text"]
        text["tokenizer"]["from"] = f"file:{vocabulary}"
        text.update(changes.pop("text", {}))
        document.update(changes)
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return build(load_config(path))

    return make
