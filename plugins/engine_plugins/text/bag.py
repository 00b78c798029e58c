"""The organisers' baseline: the mean of a text's token embeddings through a small network.

Source: repository yandex/mlcup, folder cv/contest. The vocabulary is BPEmb's for Russian Wikipedia
(Heinzerling and Strube, 2018, arXiv:1710.02187), 200,000 tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Output, Segment, State, TextEncoder, segments_of, take
from engine_plugins.text.settings import BagTextSettings


class BagBlock(nn.Module):
    """Linear, batch norm, ReLU: [B, W] -> [B, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, W] -> [B, W]."""
        return functional.relu(self.norm(self.linear(x)))


class BagText(TextEncoder):
    """Token ids -> features [B, settings.width], the order of the tokens left aside.

    In eval mode a row's features depend on its own tokens alone, as the contract asks. In training
    mode batch norm mixes the rows of a batch, as the organisers' did: it takes mean and variance
    from the batch (so a batch has two rows at least) and updates its running ones. Set a frozen
    block to eval mode, or its running statistics move on. ``state["hidden"]`` is [B, W].
    """

    settings: BagTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the mean of the tokens after the last block", "[B, width]"),
    }
    mixes_rows = "batch_norm"
    padding_costs = False

    def __init__(self, settings: BagTextSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.embedding = nn.EmbeddingBag(settings.vocab_size, width, mode="mean")
        self.blocks = nn.ModuleList(BagBlock(width) for _ in range(settings.layers))

    def segments(self) -> list[Segment]:
        """Stem: embeddings and their mean. The head has no parameters."""
        return segments_of([self.embedding], list(self.blocks), [])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
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
                state["pooled"] = take(state, "hidden", keep)
            else:
                state["hidden"] = self.blocks[index - 1](state["hidden"])
        return state

    def _mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] -> [B, W]: the tokens of all rows one after the other, a bag a row."""
        ends = mask.sum(dim=1).cumsum(dim=0)
        means: Tensor = self.embedding(ids[mask], ends - mask.sum(dim=1))
        return means
