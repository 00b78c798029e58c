"""Small models, built and saved, for the tests of building."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import engine.core.build
from engine.contracts.hooks import GROUP
from engine.core.build import Built, assemble, make_tokenizer
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.registry import Registry
from engine.core.size import artifact_size

VISION = {
    "use": "small_vit", "image_size": 16, "width": 8, "layers": 1, "heads": 2, "convolutions": 2,
}  # fmt: skip
BAG = {"use": "bag_of_tokens", "width": 8, "layers": 2}
WORDS = {"vocab_size": 200, "max_tokens": 12, "tokenizer": {"use": "trained", "from": "scratch"}}


def config_of(registry: Registry, text: dict[str, Any], **changes: Any) -> EngineConfig:
    data = {
        "engine": 1,
        "name": "small",
        "model": {
            "embed_dim": 8,
            "vision": VISION,
            "text": {**text, **WORDS},
            "projection": {"vision": {"use": "linear"}, "text": {"use": "linear"}},
        },
        "data": {"train": {"use": "shapes", "size": 16}},
        **changes,
    }
    return EngineConfig.model_validate(data, context={"registry": registry})


@contextlib.contextmanager
def tied_registry() -> Iterator[Registry]:
    """Everything installed, and the tied towers; one tokenizer for all configs.

    To train a tokenizer takes as long as everything else together.
    """
    spec = importlib.util.spec_from_file_location(
        "tied_towers", Path(__file__).with_name("tied_towers.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tied_towers"] = module
    spec.loader.exec_module(module)
    point: Any = SimpleNamespace(name="tied", value="tied_towers", dist=None, load=lambda: module)
    made = Registry([*entry_points(group=GROUP), point])
    assert not [broken for broken in made.broken if "tied" in broken.entry_point]
    trained = make_tokenizer(config_of(made, BAG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.core.build.make_tokenizer", lambda config: trained)
        yield made
    del sys.modules["tied_towers"]


def made(config: EngineConfig) -> Built:
    return assemble(config, make_model(config), engine.core.build.make_tokenizer(config), {})


def tied(tie: str) -> dict[str, Any]:
    return {"use": "tied", "width": 8, "tie": tie}


def artifact_size_of(folder: Path, registry: Registry) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.core.registry.default_registry", lambda: registry)
        patch.setattr("engine.core.config.loader.default_registry", lambda: registry, raising=False)
        return artifact_size(folder)
