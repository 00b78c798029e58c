"""Settings of `conv_text`. Nothing here imports torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from engine.contracts import TensorPlan, TextEncoderSettings, TokenizerRef, TowerPlan


class ConvTextSettings(TextEncoderSettings):
    """Convolutions over the tokens."""

    tokenizer: TokenizerRef = {"use": "trained"}  # type: ignore[assignment]
    vocab_size: int = Field(2000, ge=1, description="rows of the token embedding table")
    max_tokens: int = Field(24, ge=2, description="longest token sequence, marks included")
    width: int = Field(96, ge=1, description="channels, and width of the features")
    layers: int = Field(2, ge=0, description="number of convolutions")
    span: int = Field(3, ge=1, description="tokens that a convolution sees; odd")

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.span % 2 == 0:
            raise ValueError(f"span {self.span} is even: a token would not be in its middle")
        return self

    def plan(self) -> TowerPlan:
        """The tensors of ConvText, so that `engine size` need not import torch."""
        width = self.width
        tensors = {"embedding.weight": TensorPlan((self.vocab_size, width))}
        for i in range(self.layers):
            tensors[f"blocks.{i}.conv.weight"] = TensorPlan((width, width, self.span))
            tensors[f"blocks.{i}.conv.bias"] = TensorPlan((width,))
        tensors |= {f"norm.{name}": TensorPlan((width,)) for name in ("weight", "bias")}
        return TowerPlan(width, tensors, embedding_width=width)
