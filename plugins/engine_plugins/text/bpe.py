"""Token embeddings and a few of CLIP's blocks, small enough to be trained from the start.

The contest entry's model over the organisers' vocabulary: 200,000 tokens, width 200, 10 heads, 4
blocks. Source: repository SkylarPro/YandexCupCV; the blocks are CLIP's (arXiv:2103.00020), the
vocabulary is BPEmb's (Heinzerling and Strube, 2018, arXiv:1710.02187).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.contracts import (
    Output,
    Segment,
    State,
    TextEncoder,
    last_place,
    segments_of,
    take,
    take_place,
)
from engine.contracts.description import Table
from engine_plugins.layers import ClipTransformer, causal_to, mean_over, seen_places
from engine_plugins.text import tables
from engine_plugins.text.settings import BpeTextSettings
from engine_plugins.text.token_tables import initialise, token_table, with_factors


class BpeText(TextEncoder):
    """Token ids -> features [B, settings.width]: last norm, then the end's place or the mean.

    With causal attention nothing behind a text's end changes its features; with full attention
    padding is masked. ``state["hidden"]`` is [B, L, W].
    """

    settings: BpeTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the last block, before the norm", "[B, L, width]"),
    }
    described: ClassVar[tuple[Table, ...]] = tables.BPE

    def __init__(self, settings: BpeTextSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.token_embedding = token_table(settings.vocab_size, width, settings.table_rank)
        self.positional_embedding = nn.Parameter(torch.empty(settings.max_tokens, width))
        self.transformer = ClipTransformer(
            width, settings.layers, settings.heads, settings.mlp_width
        )
        self.ln_final = nn.LayerNorm(width)
        initialise(self.token_embedding, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)

    def segments(self) -> list[Segment]:
        """Stem: both embeddings. Head: ``ln_final``."""
        return segments_of(
            [self.token_embedding, self.positional_embedding],
            list(self.transformer.resblocks),
            [self.ln_final],
        )

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
        embedded: Tensor = self.token_embedding(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        head = len(self.transformer.resblocks) + 1
        causal = self.settings.attention == "causal"
        mask = state["mask"]
        seen = None if causal else seen_places(mask)
        one_place = self.settings.pooling == "end" and stop > head and "hidden" not in keep
        state, taken = dict(state), None
        for index in range(start, stop):
            if index == 0:
                ids = state["ids"]
                state["hidden"] = self.embed(ids) + self.positional_embedding[: ids.shape[1]]
            elif index == head:
                hidden = take(state, "hidden", keep)
                state["pooled"] = self._head(hidden, mask) if taken is None else taken
            elif index == head - 1 and one_place:
                taken = self.ln_final(self._last_block(state["hidden"], mask, seen))
            else:
                block = self.transformer.block(index - 1)
                state["hidden"] = block(state["hidden"], causal=causal, mask=seen)
        return state

    def _last_block(self, hidden: Tensor, mask: Tensor, seen: Tensor | None) -> Tensor:
        """[B, L, W] -> [B, W]: the last block at the end's place, all that the head reads then."""
        place = last_place(mask)
        if self.settings.attention == "causal":
            seen = causal_to(place, hidden.shape[1])
        return self.transformer.block(-1).at(hidden, place, mask=seen)

    def _head(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.settings.pooling == "end":
            features: Tensor = self.ln_final(take_place(hidden, last_place(mask)))
            return features
        return mean_over(self.ln_final(hidden), mask)

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names are the tower's own; a whole token table becomes factors where it has them."""
        return with_factors(weights, "token_embedding", self.settings.table_rank)
