"""Convolutions over token embeddings, and the largest number of each channel over the tokens.

Source: Kim, 2014, "Convolutional Neural Networks for Sentence Classification", arXiv:1408.5882; the
sum around each convolution is that of residual networks (He et al., 2015, arXiv:1512.03385).
"""

from __future__ import annotations

from torch import Tensor, nn

from engine.contracts import Segment, State, TextEncoder, segments_of, take

from .settings import ConvTextSettings


class Block(nn.Module):
    """x + relu(conv(x)) over the places: [B, L, W] and [B, L, 1] -> [B, L, W]."""

    def __init__(self, width: int, span: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, span, padding=span // 2)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        # Padding becomes 0, which is also what stands beyond the ends of a text: so a text gives
        # the same numbers with padding behind it and without.
        places = (hidden * mask).transpose(1, 2)
        out: Tensor = hidden + self.conv(places).transpose(1, 2).relu()
        return out


class ConvText(TextEncoder):
    """Token ids -> features [B, settings.width]. ``state["hidden"]`` is [B, L, W]."""

    def __init__(self, settings: ConvTextSettings) -> None:
        super().__init__(settings)
        width = self.width = self.embedding_width = settings.width
        self.embedding = nn.Embedding(settings.vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, settings.span) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)

    def segments(self) -> list[Segment]:
        """Stem: the embeddings. Head: the largest numbers, and the norm."""
        return segments_of([self.embedding], list(self.blocks), [self.norm])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
        embedded: Tensor = self.embedding(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state = dict(state)
        mask = state["mask"].unsqueeze(2)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.embed(state["ids"])
            elif index <= len(self.blocks):
                state["hidden"] = self.blocks[index - 1](state["hidden"], mask)
            else:
                seen = take(state, "hidden", keep).masked_fill(~mask, float("-inf"))
                state["pooled"] = self.norm(seen.amax(dim=1))
        return state
