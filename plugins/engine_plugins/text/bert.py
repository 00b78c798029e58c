"""BERT and its family, under the tensor names of ``transformers.BertModel``.

Own modules rather than transformers': importing that package costs seconds, and the tower must run
in segments. Tests hold it to the original's numbers. Without dropout: nothing here is random.
Sources: Devlin et al., 2018, arXiv:1810.04805; RuBERT is Kuratov and Arkhipov, 2019,
arXiv:1905.07213; XLM-RoBERTa is Conneau et al., 2019, arXiv:1911.02116; DistilBERT is Sanh et al.,
2019, arXiv:1910.01108.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Output, Segment, State, TextEncoder, segments_of, take
from engine.contracts.description import Table
from engine_plugins.layers import attend, first_rows, mean_over, seen_places
from engine_plugins.text import bert_names, tables
from engine_plugins.text.bert_settings import BertFamilySettings
from engine_plugins.text.token_tables import token_table, with_factors


class BertEmbeddings(nn.Module):
    """The sum of word, position and token type embeddings, normed. Every token is of type 0."""

    token_type_embeddings: nn.Embedding | None

    def __init__(self, settings: BertFamilySettings) -> None:
        super().__init__()
        width = settings.width
        self.offset = settings.position_offset
        self.word_embeddings = token_table(settings.vocab_size, width, settings.table_rank)
        self.position_embeddings = nn.Embedding(settings.n_positions, width)
        types = settings.token_types
        self.token_type_embeddings = nn.Embedding(types, width) if types else None
        self.LayerNorm = nn.LayerNorm(width, eps=settings.norm_eps)

    def forward(self, words: Tensor) -> Tensor:
        """Word embeddings [B, L, W] -> [B, L, W]."""
        # Padding stands behind a text, so the first tokens have the first positions.
        x = words + self.position_embeddings.weight[self.offset : self.offset + words.shape[1]]
        if self.token_type_embeddings is not None:
            x = x + self.token_type_embeddings.weight[0]
        out: Tensor = self.LayerNorm(x)
        return out


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, asking: Tensor, x: Tensor, seen: Tensor | None) -> Tensor:
        return attend(self.query(asking), self.key(x), self.value(x), heads=self.heads, mask=seen)


class _Output(nn.Module):
    """A matrix, the residual sum and its norm."""

    def __init__(self, wide_in: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(wide_in, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dense(x) + residual)
        return out


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.self = _SelfAttention(width, heads)
        self.output = _Output(width, width, eps)

    def forward(self, asking: Tensor, x: Tensor, seen: Tensor | None) -> Tensor:
        out: Tensor = self.output(self.self(asking, x, seen), asking)
        return out


class BertBlock(nn.Module):
    """One post-norm block: attention, sum, norm; MLP with GELU, sum, norm."""

    def __init__(self, settings: BertFamilySettings) -> None:
        super().__init__()
        self.attention = _Attention(settings.width, settings.heads, settings.norm_eps)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(settings.width, settings.mlp_width)})
        self.output = _Output(settings.mlp_width, settings.width, settings.norm_eps)

    def forward(self, asking: Tensor, x: Tensor, seen: Tensor | None) -> Tensor:
        """The places ``asking`` of a sequence after the block.

        Args:
            asking: [B, Q, W], some or all places of ``x``.
            x: [B, L, W], the sequence that they look at.
            seen: [B, L] bool, True where they may look; ``None`` for everywhere.

        Returns:
            [B, Q, W].
        """
        mixed = self.attention(asking, x, seen)
        out: Tensor = self.output(functional.gelu(self.intermediate["dense"](mixed)), mixed)
        return out


class BertFamily(TextEncoder):
    """Token ids -> features [B, settings.width], by ``pooling`` of the first token or the mean.

    Padding is masked out of attention and mean. ``state["hidden"]`` is [B, L, W].
    """

    settings: BertFamilySettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the last block", "[B, L, width]"),
    }

    def __init__(self, settings: BertFamilySettings) -> None:
        super().__init__(settings)
        self.width = self.embedding_width = settings.width
        self.embeddings = BertEmbeddings(settings)
        blocks = nn.ModuleList(BertBlock(settings) for _ in range(settings.layers))
        self.encoder = nn.ModuleDict({"layer": blocks})
        if settings.pooling == "pooler":
            self.pooler = nn.ModuleDict({"dense": nn.Linear(settings.width, settings.width)})
        self.apply(_initialise)

    @property
    def blocks(self) -> list[BertBlock]:
        """The blocks in order."""
        return [cast("BertBlock", block) for block in cast("nn.ModuleList", self.encoder["layer"])]

    def segments(self) -> list[Segment]:
        """Stem: the embeddings and their norm. Head: the pooling; only the pooler has weights."""
        head = [self.pooler] if self.settings.pooling == "pooler" else []
        return segments_of([self.embeddings], self.blocks, head)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]: the word embeddings."""
        words: Tensor = self.embeddings.word_embeddings(ids)
        return words

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state, blocks = dict(state), self.blocks
        head, seen = len(blocks) + 1, seen_places(state["mask"])
        first_only = self.settings.pooling != "mean" and stop > head and "hidden" not in keep
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.embeddings(self.embed(state["ids"]))
            elif index == head:
                state["pooled"] = self._pool(take(state, "hidden", keep), state["mask"])
            else:
                hidden = state["hidden"]
                one_place = first_only and index == head - 1
                asking = hidden[:, :1] if one_place else hidden
                state["hidden"] = blocks[index - 1](asking, hidden, seen)
        return state

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.settings.pooling == "mean":
            return mean_over(hidden, mask)
        first = hidden[:, 0]
        return first if self.settings.pooling == "first" else self.pooler["dense"](first).tanh()

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the encoder of a file of transformers, open_clip or M-CLIP, old or new."""
        own = bert_names.own_part(weights, pooler=self.settings.pooling == "pooler")
        places = "embeddings.position_embeddings.weight"
        if places in own:
            own[places] = first_rows(own[places], self.settings.n_positions)
        return with_factors(own, "embeddings.word_embeddings", self.settings.table_rank)


class BertText(BertFamily):
    """BERT and RuBERT."""

    described: ClassVar[tuple[Table, ...]] = tables.BERT


class XlmRobertaText(BertFamily):
    """XLM-RoBERTa: positions are counted from 2, and the epsilon of its norms is larger."""

    described: ClassVar[tuple[Table, ...]] = tables.XLM_ROBERTA


class DistilBertText(BertFamily):
    """DistilBERT: half as many blocks, no token types; under BERT's names."""

    described: ClassVar[tuple[Table, ...]] = tables.DISTILBERT


def _initialise(module: nn.Module) -> None:
    """BERT's fresh weights: deviation 0.02, biases 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
