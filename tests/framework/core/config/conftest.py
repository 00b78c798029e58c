"""A world of few plugins, so that these tests stand on no built-in one."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from pydantic import Field, model_validator

from engine.contracts.dataset import DatasetSettings
from engine.contracts.hooks import API_VERSION, Plugin, hookimpl
from engine.contracts.projection_settings import ProjectionSettings
from engine.contracts.refs import ProjectionRef, TokenizerRef
from engine.contracts.tokenizer import TokenizerSettings
from engine.contracts.tower_settings import TextEncoderSettings, VisionTowerSettings
from engine.core.config import EngineConfig, load_config
from engine.core.registry import Registry
from engine.errors import ConfigError

MODULE = "engine_test_plugins"

CONFIG = """\
engine: 1
name: mine
model:
  embed_dim: 8
  vision: {use: square, side: 4}
  text:
    use: words
    width: 6
    tokenizer: {use: spaces}
  projection:
    vision: {use: plain}
    text: {use: nested, of: {use: nested, of: {use: plain}}}
data:
  train: {use: pictures, path: here}
"""


class SquareSettings(VisionTowerSettings):
    """Squares."""

    side: int = Field(ge=1, description="side of the square")


class WordsSettings(TextEncoderSettings):
    """Words."""

    vocab_size: int = 100
    max_tokens: int = 15
    width: int = Field(4, ge=1, description="width of the features")
    heads: int = Field(2, ge=1, description="attention heads")
    pooling: Literal["first", "mean"] = "mean"
    tokenizer: TokenizerRef = {"use": "spaces"}  # type: ignore[assignment]

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LettersSettings(TextEncoderSettings):
    """Letters."""

    vocab_size: int = 40
    max_tokens: int = 80
    alphabet: str = "абв"
    tokenizer: TokenizerRef = {"use": "spaces"}  # type: ignore[assignment]


class SpacesSettings(TokenizerSettings):
    """Spaces."""

    lower: bool = True
    rate: float = 0.5


class PlainSettings(ProjectionSettings):
    """One matrix."""

    bias: bool = False


class NestedSettings(ProjectionSettings):
    """A projection of a projection."""

    of: ProjectionRef = {"use": "plain"}  # type: ignore[assignment]
    count: int = 2


class PicturesSettings(DatasetSettings):
    """Pictures."""

    path: Path
    count: int | Literal["all"] = "all"
    notes: dict[str, str] = {}


class FaultySettings(ProjectionSettings):
    """Its validator has a fault."""

    @model_validator(mode="before")
    @classmethod
    def _fault(cls, data: Any) -> Any:
        return {}["nothing"]


class OrphanSettings(ProjectionSettings):
    """Its default is not installed."""

    of: ProjectionRef = {"use": "nobody"}  # type: ignore[assignment]


def _plugin(kind: str, name: str, settings: str) -> Plugin:
    return Plugin(kind, name, f"{MODULE}:Target", f"{MODULE}:{settings}", f"the {name} of tests")


PLUGINS = [
    _plugin("vision_tower", "square", "SquareSettings"),
    _plugin("text_encoder", "words", "WordsSettings"),
    _plugin("text_encoder", "letters", "LettersSettings"),
    _plugin("tokenizer", "spaces", "SpacesSettings"),
    _plugin("projection", "plain", "PlainSettings"),
    _plugin("projection", "nested", "NestedSettings"),
    _plugin("projection", "faulty", "FaultySettings"),
    _plugin("projection", "orphan", "OrphanSettings"),
    _plugin("projection", "gone", "NotThereSettings"),
    _plugin("dataset", "pictures", "PicturesSettings"),
]


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """The registry of these plugins."""
    module = types.ModuleType(MODULE)
    for settings in (
        SquareSettings, WordsSettings, LettersSettings, SpacesSettings, PlainSettings,
        NestedSettings, PicturesSettings, FaultySettings, OrphanSettings,
    ):  # fmt: skip
        setattr(module, settings.__name__, settings)
    module.ENGINE_API = API_VERSION  # type: ignore[attr-defined]
    module.engine_plugins = hookimpl(lambda: PLUGINS)  # type: ignore[attr-defined]
    point: Any = types.SimpleNamespace(
        name="test", value=MODULE, dist=None, load=lambda: sys.modules[MODULE]
    )
    sys.modules[MODULE] = module
    made = Registry([point])
    assert not made.broken
    yield made
    del sys.modules[MODULE]


@pytest.fixture
def load(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., EngineConfig]:
    """Writes ``a.yaml`` and loads it: the config, or another text, with overrides."""
    monkeypatch.chdir(tmp_path)

    def call(*overrides: str, text: str | bytes = CONFIG) -> EngineConfig:
        data = text if isinstance(text, bytes) else text.encode()
        Path("a.yaml").write_bytes(data)
        return load_config(Path("a.yaml"), overrides, registry=registry)

    return call


@pytest.fixture
def error_of(load: Callable[..., EngineConfig]) -> Callable[..., str]:
    """What is said of a text, or of the config with ``old`` replaced by ``new``."""

    def call(old: str = "", new: str = "", *overrides: str, text: str | bytes | None = None) -> str:
        if text is None:
            assert not old or CONFIG.count(old) == 1
            text = CONFIG.replace(old, new) if old else CONFIG
        with pytest.raises(ConfigError) as error:
            load(*overrides, text=text)
        assert len(str(error.value).splitlines()) <= 14
        return str(error.value)

    return call


@pytest.fixture
def config_text() -> str:
    """The config that the tests change."""
    return CONFIG
