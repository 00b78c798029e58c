"""What a config may say to the plugins of this package. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts import LossSettings
from engine_plugins.text.bert_settings import RubertTextSettings


class LoraBertSettings(RubertTextSettings):
    """RuBERT with low-rank adapters on the queries and values of every block.

    Its plan is the plain tower's: the adapters are folded into the weights before they are saved.
    """

    rank: int = Field(8, ge=1, le=256, description="rank of each adapter")
    alpha: float = Field(
        16.0, gt=0, allow_inf_nan=False, description="an adapter counts alpha / rank times"
    )


class SameRelationsSettings(LossSettings):
    """Texts relate to each other as their images do."""

    teacher: str | None = Field(
        None, min_length=1, description="a teacher whose text embeddings tell the relations, too"
    )
