"""A text encoder to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import TextEncoderSettings, TokenizerRef
from pydantic import Field


class ${class_name}Settings(TextEncoderSettings):
    """$title."""

    tokenizer: TokenizerRef = {"use": "trained"}  # type: ignore[assignment]
    vocab_size: int = Field(1000, ge=1, description="rows of the token embedding table")
    max_tokens: int = Field(16, ge=2, description="longest token sequence, marks included")
    width: int = Field(64, ge=1, description="width of the features")
    layers: int = Field(2, ge=0, description="number of blocks")
'''

PLUGIN = '''\
"""`$name`: token ids become features.

Its contract: engine/contracts/tower.py.
"""

from __future__ import annotations

from engine.contracts import Segment, State, TextEncoder, segments_of, take
from torch import Tensor, nn

from .settings import ${class_name}Settings


class $class_name(TextEncoder):
    """$title."""

    def __init__(self, settings: ${class_name}Settings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.embedding = nn.Embedding(settings.vocab_size, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(settings.layers)
        )
        self.norm = nn.LayerNorm(width)

    def segments(self) -> list[Segment]:
        """Stem, blocks, head: every parameter in exactly one, so that each can be frozen."""
        return segments_of([self.embedding], list(self.blocks), [self.norm])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, E]."""
        embedded: Tensor = self.embedding(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """Segments start to stop; a row depends neither on other rows nor on its padding."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                mask = state["mask"].unsqueeze(2)  # [B, L, 1], False on padding
                words = (self.embed(state["ids"]) * mask).sum(dim=1)
                state["hidden"] = words / mask.sum(dim=1)
            elif index <= len(self.blocks):
                state["hidden"] = state["hidden"] + self.blocks[index - 1](state["hidden"])
            else:
                state["pooled"] = self.norm(take(state, "hidden", keep))  # [B, width]
        return state
'''

PACKAGE = PackageKind(
    file="encoder",
    contract="TextEncoder",
    contract_module="engine.contracts.tower",
    summary="the mean of token embeddings, through blocks of one layer",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"text": " {use: $name}"},
)
