"""Text encoders that have one tensor under several names."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from engine.contracts import Segment, State, TextEncoder, TextEncoderSettings, segments_of
from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"


class TiedSettings(TextEncoderSettings):
    """Which sort of tie."""

    width: int = 8
    tie: Literal["weight", "module", "buffer", "none"] = "weight"


class TiedText(TextEncoder):
    """The mean embedding through two layers, which may be one."""

    settings: TiedSettings

    def __init__(self, settings: TiedSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.embedding = nn.Embedding(settings.vocab_size, width)
        self.first = nn.Linear(width, width)
        self.second = self.first if settings.tie == "module" else nn.Linear(width, width)
        if settings.tie == "weight":
            self.second.weight = self.first.weight
        self.register_buffer("scale", torch.full((width,), 0.5))
        other = self.scale if settings.tie == "buffer" else torch.full((width,), 0.25)
        self.register_buffer("other", other)

    def segments(self) -> list[Segment]:
        return segments_of([self.embedding], [self], [])

    def embed(self, ids: Tensor) -> Tensor:
        found: Tensor = self.embedding(ids)
        return found

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        mean = self.embed(state["ids"]).mean(dim=1) * self.scale
        return {**state, "pooled": self.second(torch.tanh(self.first(mean))) * self.other}


@hookimpl
def engine_plugins() -> list[Any]:
    """What a package would register."""
    return [
        Plugin(
            "text_encoder", "tied", f"{__name__}:TiedText", f"{__name__}:TiedSettings", "for tests"
        )
    ]
