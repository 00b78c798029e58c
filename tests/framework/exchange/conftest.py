"""Models to export: of the tiny configs, and smaller ones, their numbers at no special value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.core.build import Built, assemble, make_tokenizer
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.registry import default_registry
from engine.exchange.source import Source, source_of

HubCache = Callable[[str, Path], None]
TINY = Path(__file__).resolve().parents[3] / "configs" / "tiny"
CLIP_VISION = {
    "use": "openai_clip", "image_size": 16, "patch_size": 8, "width": 24, "layers": 2, "heads": 4,
    "embed_width": 20,
}  # fmt: skip
CLIP_TEXT = {
    "use": "openai_clip", "width": 24, "layers": 2, "heads": 4, "embed_width": 20,
    "vocab_size": 700, "max_tokens": 12, "tokenizer": {"use": "clip_bpe", "from": "scratch"},
}  # fmt: skip
BERT = {
    "use": "rubert", "width": 24, "layers": 2, "heads": 4, "vocab_size": 500, "n_positions": 16,
    "max_tokens": 12, "tokenizer": {"use": "wordpiece", "from": "scratch"},
}  # fmt: skip
SMALL_VIT = {
    "use": "small_vit", "image_size": 16, "width": 24, "layers": 1, "heads": 4, "convolutions": 2,
}  # fmt: skip
BAG = {
    "use": "bag_of_tokens", "width": 20, "layers": 1, "vocab_size": 500, "max_tokens": 12,
    "tokenizer": {"use": "trained", "from": "scratch"},
}  # fmt: skip
LINEAR = {"use": "linear"}
IDENTITY = {"use": "identity"}


def small_config(
    vision: dict[str, Any],
    text: dict[str, Any],
    of_vision: dict[str, Any],
    of_text: dict[str, Any],
    width: int = 20,
) -> EngineConfig:
    data = {
        "engine": 1,
        "name": "small",
        "model": {
            "embed_dim": width,
            "vision": vision,
            "text": text,
            "projection": {"vision": of_vision, "text": of_text},
        },
        "data": {"train": {"use": "shapes", "size": 64}},
    }
    return EngineConfig.model_validate(data, context={"registry": default_registry()})


def make_built(config: EngineConfig) -> Built:
    """With random weights, biases and norms too."""
    built = assemble(config, make_model(config), make_tokenizer(config), {})
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in built.model.state_dict().values():
            if tensor.dtype.is_floating_point:
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.add_(0.1 * noise.abs() if tensor.dim() == 1 else 0.05 * noise)
    return built


@cache
def _tiny(name: str) -> Built:
    return make_built(load_config(TINY / f"{name}.yaml"))


@cache
def _small(kind: str) -> Built:
    made = {
        "clip": (CLIP_VISION, CLIP_TEXT, IDENTITY, IDENTITY),
        "bert": ({**CLIP_VISION, "project": False}, BERT, LINEAR, LINEAR),
    }
    return make_built(small_config(*made[kind]))


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], Source]:
    """``tiny("sber")``: the model of a tiny config."""
    return lambda name: source_of(_tiny(name))


@pytest.fixture(scope="session")
def small() -> Callable[[str], Source]:
    """``small("clip")`` or ``small("bert")``: one that transformers has a form of."""
    return lambda kind: source_of(_small(kind))


@pytest.fixture(scope="session")
def make_source() -> Callable[..., Source]:
    """``make_source(vision, text, of_vision, of_text)``: a model of these parts."""
    return lambda *parts, **rest: source_of(make_built(small_config(*parts, **rest)))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    """Puts a folder into the hub client's own cache, as a repository that was downloaded."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(repository: str, folder: Path) -> None:
        home = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("0" * 40)
        (home / "snapshots").mkdir()
        folder.rename(home / "snapshots" / ("0" * 40))

    return put
