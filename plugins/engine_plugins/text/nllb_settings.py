"""Settings of NLLB's encoder. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from engine.contracts.description import Description
from engine.contracts.limits import MAX_HEADS, MAX_LAYERS, MAX_TOKENS, MAX_VOCABULARY, MAX_WIDTH
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.refs import TokenizerRef
from engine_plugins import plans
from engine_plugins.text import proposed
from engine_plugins.text.settings import TransformerSettings


class NllbTextSettings(TransformerSettings):
    """NLLB's encoder; the defaults are nllb-200-distilled-600M's, as nllb-clip has it."""

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "nllb",
        "from": "hf:facebook/nllb-200-distilled-600M",
        "clean": "whitespace",
    }
    vocab_size: int = Field(
        256206, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        77, ge=2, le=MAX_TOKENS, description="longest token sequence, marks included"
    )
    width: int = Field(
        1024, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(12, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(16, ge=1, le=MAX_HEADS, description="attention heads of a block")
    pooling: Literal["first", "mean"] = Field(
        "first",
        description="the features: `first` the first token's, which is the language, `mean` the"
        " mean over all",
    )

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return proposed.nllb(description)

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.nllb.NllbText``."""
        width = self.width
        tensors: Plan = {
            **plans.token_table("embed_tokens", self.vocab_size, width, self.table_rank),
            **plans.norm("layer_norm", width),
        }
        for i in range(self.layers):
            block: Plan = {}
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                block |= plans.linear(f"self_attn.{name}", width, width)
            block |= {
                **plans.norm("self_attn_layer_norm", width),
                **plans.linear("fc1", width, self.mlp_width),
                **plans.linear("fc2", self.mlp_width, width),
                **plans.norm("final_layer_norm", width),
            }
            tensors |= plans.prefixed(f"layers.{i}", block)
        return TowerPlan(width, tensors, embedding_width=width)
