"""Settings of the text encoders that are not CLIP's. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from engine.contracts.limits import MAX_HEADS, MAX_LAYERS, MAX_TOKENS, MAX_VOCABULARY, MAX_WIDTH
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.refs import TokenizerRef
from engine.contracts.tower_settings import TextEncoderSettings
from engine_plugins import plans


class TransformerSettings(TextEncoderSettings):
    """What the settings of every transformer here have; a subclass gives its own defaults."""

    width: int = Field(
        768, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(12, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(12, ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="hidden width of a block's MLP, as a multiple of width"
    )
    table_rank: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="numbers of each row of the token table, which a matrix makes as wide as the"
        " transformer; null: the table is as wide itself",
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    @property
    def mlp_width(self) -> int:
        """Hidden width of a block's MLP, at least 1."""
        return max(1, round(self.width * self.mlp_ratio))


class GptTextSettings(TransformerSettings):
    """ruGPT-3 small, GPT-2's architecture; the defaults are those of CLIP by Sber.

    With an ``n_positions`` below the file's the first positions are taken: a text that fits keeps
    its features, and the model has fewer bytes.
    """

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "gpt2_bpe",
        "from": "hf:ai-forever/rugpt3small_based_on_gpt2",
    }
    vocab_size: int = Field(
        50264, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        128,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks included; at most n_positions",
    )
    n_positions: int = Field(2048, ge=2, le=MAX_TOKENS, description="rows of the position table")

    @model_validator(mode="after")
    def _texts_fit(self) -> Self:
        if self.max_tokens > self.n_positions:
            raise ValueError(
                f"max_tokens {self.max_tokens} is more than n_positions {self.n_positions}: the"
                " last tokens would have no position"
            )
        return self

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.gpt.GptText``."""
        width = self.width
        tensors: Plan = {
            **plans.token_table("wte", self.vocab_size, width, self.table_rank),
            **plans.tensor("wpe.weight", self.n_positions, width),
            **plans.norm("ln_f", width),
        }
        for i in range(self.layers):
            tensors |= {
                **plans.norm(f"h.{i}.ln_1", width),
                **plans.conv1d(f"h.{i}.attn.c_attn", width, 3 * width),
                **plans.conv1d(f"h.{i}.attn.c_proj", width, width),
                **plans.norm(f"h.{i}.ln_2", width),
                **plans.conv1d(f"h.{i}.mlp.c_fc", width, self.mlp_width),
                **plans.conv1d(f"h.{i}.mlp.c_proj", self.mlp_width, width),
            }
        return TowerPlan(width, tensors, embedding_width=width)


class BpeTextSettings(TransformerSettings):
    """Token embeddings and a few of CLIP's blocks; the defaults are the contest entry's.

    ``attention: causal`` with ``pooling: end`` is how CLIP reads a text, and the cheapest: the
    last block runs at one place only.
    """

    # BPEmb's vocabulary knows lower case only, and every digit as 0.
    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "sentencepiece",
        "lower": True,
        "zero_digits": True,
    }
    vocab_size: int = Field(
        200_000, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        77,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks included; rows of the position table",
    )
    width: int = Field(
        200, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(4, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(10, ge=1, le=MAX_HEADS, description="attention heads of a block")
    attention: Literal["causal", "full"] = Field(
        "causal", description="`causal` each token sees those before it, `full` all of the text"
    )
    pooling: Literal["end", "mean"] = Field(
        "end", description="the features: `end` the last token's, `mean` the mean over all"
    )

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.bpe.BpeText``."""
        width = self.width
        tensors: Plan = {
            **plans.token_table("token_embedding", self.vocab_size, width, self.table_rank),
            **plans.tensor("positional_embedding", self.max_tokens, width),
            **plans.norm("ln_final", width),
        }
        for i in range(self.layers):
            tensors |= plans.clip_block(f"transformer.resblocks.{i}", width, self.mlp_width)
        return TowerPlan(width, tensors, embedding_width=width)


class BagTextSettings(TextEncoderSettings):
    """The mean of token embeddings through a small network; the defaults are the organisers'."""

    # BPEmb's vocabulary knows lower case only, and every digit as 0.
    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "sentencepiece",
        "lower": True,
        "zero_digits": True,
        "marks": False,
    }
    vocab_size: int = Field(
        200_000, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        128, ge=2, le=MAX_TOKENS, description="longest token sequence; what follows is cut"
    )
    width: int = Field(
        200, ge=1, le=MAX_WIDTH, description="width of the embeddings and of every layer"
    )
    layers: int = Field(
        6, ge=1, le=MAX_LAYERS, description="number of blocks, each linear, batch norm, ReLU"
    )

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.bag.BagText``."""
        width = self.width
        tensors: Plan = plans.tensor("embedding.weight", self.vocab_size, width)
        for i in range(self.layers):
            tensors |= plans.linear(f"blocks.{i}.linear", width, width)
            tensors |= plans.batch_norm(f"blocks.{i}.norm", width)
        return TowerPlan(width, tensors, embedding_width=width)


class NgramTextSettings(TextEncoderSettings):
    """The mean of hashed n-grams' embeddings through a small network; taught by another encoder."""

    tokenizer: TokenizerRef = {"use": "char_ngrams"}  # type: ignore[assignment]
    vocab_size: int = Field(
        32_768, ge=2, le=MAX_VOCABULARY, description="buckets of the hash, rows of the table"
    )
    max_tokens: int = Field(
        256, ge=2, le=MAX_TOKENS, description="most n-grams of a text; what follows is cut"
    )
    width: int = Field(128, ge=1, le=MAX_WIDTH, description="width of the table")
    hidden_width: int = Field(768, ge=1, le=MAX_WIDTH, description="width of the hidden layers")
    layers: int = Field(1, ge=0, le=MAX_LAYERS, description="hidden layers, each linear and GELU")
    out_width: int = Field(
        384,
        ge=1,
        le=MAX_WIDTH,
        description="width of the features; a teacher's, to be taught by it",
    )
    sparse: bool = Field(
        False,
        description="the table's gradient names only the rows of a batch: small batches train"
        " several times faster; for the optimizer `sparse_adam`",
    )

    @property
    def layer_widths(self) -> list[int]:
        """The width of the table and of each hidden layer."""
        return [self.width, *[self.hidden_width] * self.layers]

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.ngrams.NgramText``."""
        widths = self.layer_widths
        tensors: Plan = plans.tensor("embedding.weight", self.vocab_size, self.width)
        for i in range(self.layers):
            tensors |= plans.linear(f"blocks.{i}.linear", widths[i], widths[i + 1])
        tensors |= plans.linear("head", widths[-1], self.out_width)
        return TowerPlan(self.out_width, tensors, embedding_width=self.width)
