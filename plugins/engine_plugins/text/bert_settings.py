"""Settings of BERT and its family: RuBERT, XLM-RoBERTa, DistilBERT. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from engine.contracts.description import Description
from engine.contracts.limits import MAX_TOKENS, MAX_VOCABULARY
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.refs import TokenizerRef
from engine_plugins import plans
from engine_plugins.text import proposed
from engine_plugins.text.settings import TransformerSettings


class BertFamilySettings(TransformerSettings):
    """The numbers of a post-norm transformer of BERT's architecture.

    With an ``n_positions`` below the file's the first positions are taken: a text that fits keeps
    its features, and the model has fewer bytes.
    """

    token_types: ClassVar[int] = 2
    """Rows of the table of token types. Texts are of type 0; the table stays whole, so that a file
    keeps its bytes. 0: there is no such table."""
    position_offset: ClassVar[int] = 0
    """Rows of the position table before the first token's: RoBERTa counts from its padding id."""

    vocab_size: int = Field(
        30522, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        128,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks included; at most n_positions",
    )
    n_positions: int = Field(512, ge=2, le=MAX_TOKENS, description="rows of the position table")
    norm_eps: float = Field(1e-12, gt=0, le=1, description="epsilon of every layer norm")
    pooling: Literal["first", "mean", "pooler"] = Field(
        "mean",
        description="the features: `first` the first token's ([CLS]), `pooler` that one through"
        " BERT's own matrix and tanh, `mean` the mean over all",
    )

    @model_validator(mode="after")
    def _texts_fit(self) -> Self:
        rows = self.n_positions - self.position_offset
        if self.max_tokens > rows:
            taken = f" less {self.position_offset}" if self.position_offset else ""
            raise ValueError(
                f"max_tokens {self.max_tokens} is more than n_positions"
                f" {self.n_positions}{taken}: the last tokens would have no position"
            )
        return self

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.bert.BertText``."""
        width = self.width
        tensors: Plan = {
            **plans.token_table(
                "embeddings.word_embeddings", self.vocab_size, width, self.table_rank
            ),
            **plans.tensor("embeddings.position_embeddings.weight", self.n_positions, width),
            **plans.norm("embeddings.LayerNorm", width),
        }
        if self.token_types:
            name = "embeddings.token_type_embeddings.weight"
            tensors |= plans.tensor(name, self.token_types, width)
        for i in range(self.layers):
            block = {
                **plans.linear("attention.self.query", width, width),
                **plans.linear("attention.self.key", width, width),
                **plans.linear("attention.self.value", width, width),
                **plans.linear("attention.output.dense", width, width),
                **plans.norm("attention.output.LayerNorm", width),
                **plans.linear("intermediate.dense", width, self.mlp_width),
                **plans.linear("output.dense", self.mlp_width, width),
                **plans.norm("output.LayerNorm", width),
            }
            tensors |= plans.prefixed(f"encoder.layer.{i}", block)
        if self.pooling == "pooler":
            tensors |= plans.linear("pooler.dense", width, width)
        return TowerPlan(width, tensors, embedding_width=width)


class BertTextSettings(BertFamilySettings):
    """BERT, by the mean over its tokens; the defaults are bert-base-uncased's."""

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "wordpiece",
        "from": "hf:google-bert/bert-base-uncased",
        "do_lower_case": True,
    }

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return proposed.bert(description, aside)


class RubertTextSettings(BertFamilySettings):
    """RuBERT, BERT's architecture; the defaults are rubert-base-cased's."""

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "wordpiece",
        "from": "hf:DeepPavlov/rubert-base-cased",
    }
    vocab_size: int = Field(
        119547, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    pooling: Literal["first", "mean", "pooler"] = Field(
        "first",
        description="the features: `first` the first token's ([CLS]), `pooler` that one through"
        " BERT's own matrix and tanh, `mean` the mean over all",
    )


class XlmRobertaTextSettings(BertFamilySettings):
    """XLM-RoBERTa; the defaults are xlm-roberta-base's, as open_clip has it: the mean of a text.

    The first two rows of its position table belong to no token.
    """

    token_types: ClassVar[int] = 1
    position_offset: ClassVar[int] = 2

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "xlm_roberta",
        "from": "hf:FacebookAI/xlm-roberta-base",
        "clean": "whitespace",
    }
    vocab_size: int = Field(
        250002, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        77,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks included; at most n_positions less 2",
    )
    n_positions: int = Field(514, ge=4, le=MAX_TOKENS, description="rows of the position table")
    norm_eps: float = Field(1e-5, gt=0, le=1, description="epsilon of every layer norm")

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return proposed.xlm_roberta(description, aside)


class DistilBertTextSettings(BertFamilySettings):
    """DistilBERT; the defaults are distilbert-base-multilingual-cased's."""

    token_types: ClassVar[int] = 0

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "wordpiece",
        "from": "hf:sentence-transformers/clip-ViT-B-32-multilingual-v1",
    }
    vocab_size: int = Field(
        119547, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    layers: int = Field(6, ge=1, le=1024, description="number of blocks")

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return proposed.distilbert(description, aside)
