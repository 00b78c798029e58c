"""Static embeddings: the mean of a text's tokens, as model2vec has it. No attention, no layers.

Source: github.com/MinishLab/model2vec (Tulkens and van Dongen, 2024); a folder of it holds
``embeddings`` [rows, W], perhaps ``weights`` [V], a factor on each token, and ``mapping`` [V], the
row of each token where several tokens share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from engine.contracts import (
    Output,
    Segment,
    State,
    TextEncoder,
    Tokenizer,
    segments_of,
    take,
)
from engine.contracts.description import Fact, Table
from engine.errors import WeightsError
from engine_plugins.text.static_settings import StaticTextSettings
from engine_plugins.text.static_start import static_table
from engine_plugins.text.token_tables import token_table, with_factors

_NAMES = ("embeddings", "embedding.weight", "0.embedding.weight")
"""Of the table: model2vec's own, and sentence-transformers' ``StaticEmbedding``."""


class StaticText(TextEncoder):
    """Token ids -> features [B, settings.width].

    Unknown tokens do not count; a text of nothing else gives zeros. A table with a factor for each
    token, or with shared rows, becomes one plain table: the same features, a row for each token.
    """

    settings: StaticTextSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **TextEncoder.outputs,
        "hidden": Output("the mean of the tokens", "[B, width]"),
    }
    described: ClassVar[tuple[Table, ...]] = (
        Table("transformers", ("model2vec",), (
            Fact("hidden_dim", lambda t: t.settings.width, "width", refuse=False,
                 note="the tensors decide"),
            Fact("normalize", lambda t: True, default=True, refuse=False,
                 note="Engine's embeddings always have the length 1"),
            Fact("max_length", lambda t: t.settings.max_tokens, "max_tokens", refuse=False,
                 same=lambda theirs, ours: theirs is None or ours <= theirs),
        ), ("pooling", "apply_", "sif_", "seq_length", "embedding_dtype", "vocabulary_")),
        Table("sentence_transformers", (), (), ("pooling_mode",)),
    )  # fmt: skip

    def __init__(self, settings: StaticTextSettings) -> None:
        super().__init__(settings)
        self.width = self.embedding_width = settings.width
        self.embedding = token_table(settings.vocab_size, settings.width, settings.table_rank)

    def segments(self) -> list[Segment]:
        """Stem: the table and the mean. There are no blocks, and the head has no parameters."""
        return segments_of([self.embedding], [], [])

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, W]."""
        embedded: Tensor = self.embedding(ids)
        return embedded

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self._mean(state["ids"], state["mask"])
            else:
                state["pooled"] = take(state, "hidden", keep)
        return state

    def _mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L] -> [B, W]."""
        if self.settings.unknown_id is not None:
            mask = mask & (ids != self.settings.unknown_id)
        tokens = self.embed(ids)
        counted = mask.to(tokens.dtype).unsqueeze(-1)
        return (tokens * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)

    def fit(self, tokenizer: Tokenizer) -> str:
        """See the contract: ``settings.start``."""
        start = self.settings.start
        if start is None:
            return ""
        table = static_table(start, tokenizer, self.settings.vocab_size, self.settings.width)
        whole = {"embedding.weight": torch.from_numpy(table)}
        self.load_state_dict(with_factors(whole, "embedding", self.settings.table_rank))
        return f"the pieces of {tokenizer.origin}, read by the teacher `{start.teacher.name}`"

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the table of a folder of model2vec, or of sentence-transformers.

        Raises:
            WeightsError: its factors or its mapping do not fit its table.
        """
        own = dict(weights)
        name = next((name for name in _NAMES if name in own), None)
        if name is None:
            return own
        table = own.pop(name)
        mapping, factors = own.pop("mapping", None), own.pop("weights", None)
        if mapping is not None:
            if mapping.dim() != 1 or bool((mapping < 0).any() | (mapping >= len(table)).any()):
                raise WeightsError(
                    f"its `mapping` names rows that its table of {len(table):,} does not have",
                    hint="get the folder again",
                )
            table = table[mapping.long()]
        if factors is not None:
            if factors.shape != table.shape[:1]:
                raise WeightsError(
                    f"its `weights` have {factors.numel():,} numbers for {len(table):,} tokens",
                    hint="get the folder again",
                )
            table = table.double() * factors.double()[:, None]
        found = {**own, "embedding.weight": table.float()}
        return with_factors(found, "embedding", self.settings.table_rank)
