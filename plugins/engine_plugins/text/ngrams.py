"""A text encoder for few bytes: the mean of hashed n-grams' embeddings through a small network.

Source of the idea: fastText (Bojanowski et al., 2017, arXiv:1607.04606) and deep averaging networks
(Iyyer et al., 2015). Taught by a sentence encoder it answers for words, inflected ones too.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Output, Segment, State, TextEncoder, segments_of, take
from engine_plugins.text.settings import NgramTextSettings


class NgramBlock(nn.Module):
    """Linear, GELU: [B, in] -> [B, out]."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] -> [B, out]."""
        return functional.gelu(self.linear(x))


class NgramText(TextEncoder):
    """Ids of n-grams -> features [B, settings.out_width], their order left aside.

    Segments: the table and the mean; a block a hidden layer; the last matrix. ``state["hidden"]``
    is [B, hidden_width] at the end, [B, width] where there is no hidden layer.
    """

    settings: NgramTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("what the last hidden layer gives", "[B, hidden_width]"),
    }
    padding_costs = False

    def __init__(self, settings: NgramTextSettings) -> None:
        super().__init__(settings)
        self.width, self.embedding_width = settings.out_width, settings.width
        self.embedding = nn.EmbeddingBag(
            settings.vocab_size, settings.width, mode="mean", sparse=settings.sparse
        )
        widths = settings.layer_widths
        self.blocks = nn.ModuleList(NgramBlock(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], settings.out_width)

    def segments(self) -> list[Segment]:
        """Stem: the table. Blocks: the hidden layers. Head: the last matrix."""
        return segments_of([self.embedding], list(self.blocks), [self.head])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, width]."""
        return functional.embedding(ids, self.embedding.weight)

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self._mean(state["ids"], state["mask"])
            elif index == len(self.blocks) + 1:
                state["pooled"] = self.head(take(state, "hidden", keep))
            else:
                state["hidden"] = self.blocks[index - 1](state["hidden"])
        return state

    def _mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] -> [B, width]: the n-grams of all rows one after the other, a bag a row."""
        counts = mask.sum(dim=1)
        means: Tensor = self.embedding(ids[mask], counts.cumsum(dim=0) - counts)
        return means
