"""A small transformer over characters, on which compressors are tried."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts.plan import TensorPlan, TowerPlan
from engine.contracts.settings import PluginRef
from engine.contracts.tokenizer import TokenizerRef, TokenizerSettings
from engine.contracts.tower_settings import TextEncoderSettings, VisionTowerSettings
from engine.testing.small import CHARACTERS


class SmallTextSettings(TextEncoderSettings):
    """Of the small text encoder."""

    tokenizer: TokenizerRef = PluginRef(CHARACTERS, TokenizerSettings())
    vocab_size: int = Field(400, ge=4, description="rows of the token table")
    max_tokens: int = Field(12, ge=2, description="longest token sequence")
    n_positions: int = Field(40, ge=2, description="rows of the position table")
    width: int = Field(16, ge=1, description="width of all layers")
    layers: int = Field(4, ge=1, description="number of blocks")

    def plan(self) -> TowerPlan:
        """Every tensor."""
        width = self.width
        tensors = {
            "tokens.weight": TensorPlan((self.vocab_size, width)),
            "places.weight": TensorPlan((self.n_positions, width)),
        }
        for i in range(self.layers):
            tensors[f"blocks.{i}.weight"] = TensorPlan((width, width))
            tensors[f"blocks.{i}.bias"] = TensorPlan((width,))
        return TowerPlan(width, tensors, embedding_width=width)


class SmallVisionSettings(VisionTowerSettings):
    """Of a vision tower that is named and not built."""

    layers: int = Field(2, ge=1, description="number of blocks")


class SmallText(nn.Module):
    """Token and position embeddings, some layers, the mean over the tokens."""

    def __init__(self, settings: SmallTextSettings) -> None:
        super().__init__()
        width = settings.width
        self.tokens = nn.Embedding(settings.vocab_size, width)
        self.places = nn.Embedding(settings.n_positions, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.layers))

    def forward(self, ids: list[int]) -> Tensor:
        """Ids of one text -> [width]."""
        hidden = self.tokens(torch.tensor(ids)) + self.places.weight[: len(ids)]
        for block in self.blocks:
            hidden = hidden + functional.gelu(block(hidden))
        mean: Tensor = hidden.mean(dim=0)
        return mean
