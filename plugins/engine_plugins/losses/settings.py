"""Settings of the built-in losses. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contracts import LossSettings


class PairSettings(LossSettings):
    """Base of the losses that compare each image with all texts of a batch."""

    equal_texts: Literal["negatives", "masked"] = Field(
        "negatives",
        description="texts of other rows that equal a row's own: wrong answers like all others, or"
        " left out",
    )


class ContrastiveSettings(PairSettings):
    """CLIP's symmetric cross-entropy."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class SigmoidSettings(PairSettings):
    """SigLIP's loss: every pair by itself, right or wrong."""

    bias: float = Field(
        -10.0,
        description="of the logits, at the start; it is learned; not used where the model has one",
    )


class RouterSettings(LossSettings):
    """The router learns the cluster of the text."""

    smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")


class BalanceSettings(LossSettings):
    """The router is kept from sending everything to one cluster."""

    weight: float = Field(
        0.01, ge=0, allow_inf_nan=False, description="factor on this loss in the sum of all"
    )
