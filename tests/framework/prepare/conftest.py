"""Small click logs, and configs that train on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from engine.core.config import load_config
from engine.core.config.schema import EngineConfig

COLOURS = ["red", "green", "blue", "white"]

CONFIG: dict[str, Any] = {
    "engine": 1,
    "name": "small",
    "model": {
        "embed_dim": 8,
        "vision": {"use": "small_vit", "image_size": 16, "convolutions": 2, "width": 8,
                   "layers": 1, "heads": 2},
        "text": {"use": "gpt3small", "width": 8, "layers": 1, "heads": 2, "vocab_size": 400,
                 "max_tokens": 15, "n_positions": 16, "tokenizer": {"use": "trained"}},
        "projection": {"vision": {"use": "residual"}, "text": {"use": "residual"}},
    },
    "data": {"train": {"use": "click_log", "path": "data"}, "prepared": "prepared"},
    "train": {"threads": 1, "loggers": [], "device": "cpu",
              "stages": [{"name": "one", "trains": {"text": True}, "epochs": 2,
                          "batch_size": 8}]},
}  # fmt: skip

CLUSTERS: dict[str, Any] = {
    "embedder": {"use": "tfidf_svd", "width": 8},
    "clusterer": {"use": "kmeans", "count": 3},
}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty pictures of a colour, with one to three queries each, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = []
    for number in range(40):
        colour = COLOURS[number % 4]
        Image.new("RGB", (16, 16), colour).save(folder / "images" / f"{number}.jpg")
        queries = [f"a {colour} one", f"number {number % 7}", f"{colour} {number}"]
        lines.append(json.dumps({"image": number, "queries": queries[: 1 + number % 3]}))
    (folder / "metadata.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def make_config(tmp_path: Path, log: Path) -> Callable[..., EngineConfig]:
    """The config, with a section of clusters where it is asked for, and overrides."""

    def make(*overrides: str, clusters: bool = False) -> EngineConfig:
        text = {**CONFIG, "clusters": CLUSTERS} if clusters else CONFIG
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
        return load_config(tmp_path / "config.yaml", overrides)

    return make
