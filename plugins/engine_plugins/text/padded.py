"""Text transformers that see all of a text at once, its padding included: SigLIP, MobileCLIP.

Own modules under the names of open_clip's ``TextTransformer`` rather than that class: importing
open_clip costs seconds, and the tower must run in segments. Tests hold it to open_clip's and
transformers' numbers.
Sources: Zhai et al., 2023, arXiv:2303.15343 (SigLIP); Tschannen et al., 2025, arXiv:2502.14786
(SigLIP 2); Vasu et al., 2023, arXiv:2311.17049 (MobileCLIP).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Output, State, last_place
from engine.contracts.description import Description, Difference, Table
from engine_plugins import clip_described, siglip_described
from engine_plugins.checkpoint_adapters.siglip_names import text_part
from engine_plugins.layers import ClipTransformer, random_parameter
from engine_plugins.text.one_place import OnePlaceText
from engine_plugins.text.padded_settings import PaddedTextSettings


class PaddedText(OnePlaceText):
    """Token ids -> features [B, settings.embed_width].

    Whatever length a batch has, the tower fills it up to ``max_tokens`` with ``pad_id``, since its
    padding is a part of what the model learned to read. So ``state["hidden"]`` is
    [B, max_tokens, W].
    """

    settings: PaddedTextSettings
    causal: ClassVar[bool] = False
    outputs: ClassVar[Mapping[str, Output]] = {
        **OnePlaceText.outputs,
        "hidden": Output(
            "the last block, before the norm", "[B, settings.max_tokens, settings.width]"
        ),
    }
    described: ClassVar[tuple[Table, ...]] = siglip_described.TEXT

    def __init__(self, settings: PaddedTextSettings) -> None:
        super().__init__(settings)
        width = settings.width
        self.width, self.embedding_width = settings.embed_width, width
        self.token_embedding = nn.Embedding(settings.vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        self.positional_embedding = random_parameter(0.01, settings.max_tokens, width)
        self.transformer = ClipTransformer(
            width,
            settings.layers,
            settings.heads,
            settings.mlp_width,
            activation=settings.activation,
            eps=settings.norm_eps,
        )
        self.ln_final = nn.LayerNorm(width, eps=settings.norm_eps)
        self.text_projection = None
        if settings.project == "linear":
            self.text_projection = nn.Linear(width, settings.embed_width)
            nn.init.normal_(self.text_projection.weight, std=width**-0.5)
            nn.init.zeros_(self.text_projection.bias)
        elif settings.project == "matrix":
            self.text_projection = random_parameter(width**-0.5, width, settings.embed_width)

    def _stem(self, state: State) -> Tensor:
        """Of a text that is filled up to ``max_tokens``."""
        return self.embed(self._fill(state["ids"], state["mask"])) + self.positional_embedding

    def _fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, L], [B, L] bool -> [B, max_tokens], ``pad_id`` behind every text."""
        settings = self.settings
        texts = ids.masked_fill(~mask, settings.pad_id)
        return functional.pad(texts, (0, settings.max_tokens - ids.shape[1]), value=settings.pad_id)

    def _place(self, mask: Tensor) -> Tensor:
        """[B, L] bool -> [B] int64: the place that the head reads."""
        if self.settings.pooling == "end":
            return last_place(mask)
        last = self.settings.max_tokens - 1
        return torch.full((len(mask),), last, dtype=torch.int64, device=mask.device)

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the text part of a whole checkpoint, open_clip's or transformers'."""
        return text_part(weights)

    def described_by(self, description: Description) -> list[Difference]:
        """See the contract."""
        found = super().described_by(description)
        return found + self._pooled_elsewhere(description)

    def _pooled_elsewhere(self, description: Description) -> list[Difference]:
        """With ``pooling: end``: what a program pools at, against the tokenizer's end mark."""
        if self.settings.pooling != "end" or description.program != "open_clip":
            return []
        return clip_described.end_differences(description)
