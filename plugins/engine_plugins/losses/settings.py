"""Settings of the built-in losses. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.contracts import LossSettings
from engine.contracts.limits import MAX_WIDTH


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


class TaughtSettings(LossSettings):
    """Base of the losses that read a teacher."""

    teacher: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,39}$", description="its name in `train.teachers`"
    )


class DistillSettings(TaughtSettings):
    """An output of the model is to equal a teacher's."""

    of: str = Field(
        "text.pooled",
        pattern=r"^(text|image)\.[a-z_]+$",
        description="the model's output: `text.pooled`, `text.embedding`, `image.embedding` ...",
    )
    from_: Literal["text", "image"] | None = Field(
        None, alias="from", description="what the teacher reads; by default the modality of `of`"
    )
    compare: Literal["cosine", "mse"] = Field(
        "cosine", description="1 - cosine, or the mean squared error"
    )
    map: tuple[int, int] | None = Field(
        None,
        description="[own width, teacher's width]: a learned matrix between them; null: they are"
        " equal",
    )

    @field_validator("map")
    @classmethod
    def _widths(cls, map: tuple[int, int] | None) -> tuple[int, int] | None:
        if map is not None and not all(1 <= width <= MAX_WIDTH for width in map):
            raise ValueError(f"each width is from 1 to {MAX_WIDTH}")
        return map


class SoftTargetSettings(TaughtSettings):
    """Base of the losses over a teacher's softmax."""

    teacher_scale: float = Field(
        100.0,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description="factor on the teacher's cosines before its softmax; CLIP's own is 100",
    )


class AffinitySettings(SoftTargetSettings):
    """Images and texts of a batch are as alike as the teacher finds them (TinyCLIP)."""


class TeacherLogitsSettings(SoftTargetSettings):
    """The model's texts among the teacher's vectors give the teacher's own logits."""

    against: Literal["text", "image"] = Field(
        "text", description="the teacher's vectors that texts are compared with"
    )
