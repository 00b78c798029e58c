"""A model small enough to check by hand: it names the colour of a picture.

The vision tower gives the mean colour; a text's features are the sum of its words' colours. So
right answers are known without training, and every part between picture and answer must work.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from engine.contracts import (
    Dataset,
    Projection,
    ProjectionSettings,
    Record,
    Segment,
    SquarePreprocess,
    State,
    TextEncoder,
    TextEncoderSettings,
    Tokenizer,
    VisionTower,
    VisionTowerSettings,
)
from engine.core.config.schema import ZeroShotSettings
from engine.core.model import DualEncoder
from engine.errors import BrokenImageError
from engine.evaluate.predictor import Predictor

COLOURS = {
    "красный": (1.0, -1.0, -1.0), "зелёный": (-1.0, 1.0, -1.0), "синий": (-1.0, -1.0, 1.0),
    "жёлтый": (1.0, 1.0, -1.0), "белый": (1.0, 1.0, 1.0), "чёрный": (-1.0, -1.0, -1.0),
    "голубой": (-1.0, 1.0, 1.0),
}  # fmt: skip
WORDS = 64


class Words(Tokenizer):
    """One id a word; id 0 begins every text."""

    pad_id, vocab_size, origin = 0, WORDS, "made for a test"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    @classmethod
    def make(cls, settings: Any, texts: Any, vocab_size: int) -> Words:
        return cls()

    @classmethod
    def from_bytes(cls, settings: Any, data: bytes) -> Words:
        return cls()

    def to_bytes(self) -> bytes:
        return b"{}"

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        self.encoded += texts
        known = {name: i + 1 for i, name in enumerate(COLOURS)}
        return [
            [0, *(known.get(w, 8 + zlib.crc32(w.encode()) % 56) for w in text.split())][:max_tokens]
            for text in texts
        ]


class ColourOfText(TextEncoder):
    def __init__(self, settings: TextEncoderSettings) -> None:
        super().__init__(settings)
        self.width = self.embedding_width = 3
        self.table = nn.Embedding(WORDS, 3)
        with torch.no_grad():
            self.table.weight.copy_(torch.randn(WORDS, 3) * 0.05)
            self.table.weight[0] = 0
            self.table.weight[1 : len(COLOURS) + 1] = torch.tensor(list(COLOURS.values()))
        self.batches: list[tuple[int, int]] = []

    def segments(self) -> list[Segment]:
        return [Segment("stem", (self.table,))]

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        self.batches.append(tuple(state["ids"].shape))
        known = state["mask"].unsqueeze(-1)
        return {**state, "pooled": (self.table(state["ids"]) * known).sum(dim=1)}

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)


class ColourOfImage(VisionTower):
    def __init__(self, settings: VisionTowerSettings) -> None:
        super().__init__(settings)
        self.width = 3
        self.preprocess = SquarePreprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def segments(self) -> list[Segment]:
        return []

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        return {**state, "pooled": state["pixels"].mean(dim=(2, 3))}


class Same(Projection):
    def project(self, features: torch.Tensor) -> torch.Tensor:
        return features


class Pictures(Dataset):
    """Pictures in memory; a text in place of a picture is the reason why it is broken."""

    def __init__(
        self, name: str, classes: Sequence[str], rows: Sequence[tuple[str, Any, int | None]]
    ) -> None:
        self.name, self.classes, self.rows = name, tuple(classes), rows

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> Record:
        return Record(self.rows[index][0], label=self.rows[index][2])

    def image(self, index: int) -> Image.Image:
        found = self.rows[index][1]
        if isinstance(found, str):
            raise BrokenImageError(found)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def predictor() -> Predictor:
    """The colour model."""
    torch.manual_seed(0)
    settings = TextEncoderSettings.model_construct(max_tokens=12)
    model = DualEncoder(
        ColourOfImage(VisionTowerSettings()),
        ColourOfText(settings),
        Same(ProjectionSettings(), 3, 3),
        Same(ProjectionSettings(), 3, 3),
        3.0,
    )
    towers = SimpleNamespace(vision=SimpleNamespace(name="mean"), text=SimpleNamespace(name="sum"))
    config = SimpleNamespace(name="colours", zero_shot=ZeroShotSettings(), model=towers)
    manifest = {"weights": {"vision": {"source": "scratch", "initialised": "random"}}}
    built: Any = SimpleNamespace(model=model, tokenizer=Words(), config=config, manifest=manifest)
    return Predictor(built)


@pytest.fixture
def colours() -> dict[str, Image.Image]:
    """A picture of each colour by its name."""
    return {
        name: Image.new("RGB", (40, 30), tuple(int(127.5 * (c + 1)) for c in colour))
        for name, colour in COLOURS.items()
    }


@pytest.fixture
def pictures() -> Callable[..., Dataset]:
    """Makes a data set of ``(id, picture or reason, label)`` rows."""
    return Pictures


LITTLE = """\
engine: 1
name: little
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text: {use: gpt3small, width: 16, layers: 1, heads: 2, vocab_size: 400, max_tokens: 15,
         n_positions: 32, tokenizer: {use: trained}}
  projection: {vision: {use: linear}, text: {use: linear}}
data:
  train: {use: shapes, count: 40, size: 16}
"""
"""The top of a config of a model that trains in a second; the rest is each test's own."""

CONFIG = f"""\
{LITTLE}  evaluate: [{{use: shapes, count: 24, size: 16, split: test}}]
train:
  threads: 1
  device: cpu
  stages: [{{name: NAME, trains: {{text: {{blocks: last 1}}}}, steps: 2, batch_size: 8}}]
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact and the config that it was built of, `little.yaml`, beside it."""
    from engine.core.build import build, save
    from engine.core.config import load_config

    folder = tmp_path_factory.mktemp("built")
    (folder / "little.yaml").write_text(CONFIG, encoding="utf-8")
    save(build(load_config(folder / "little.yaml")), folder / "artifact")
    return folder / "artifact"
