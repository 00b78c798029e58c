"""Settings of the built-in callbacks. Nothing here imports torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contracts import CallbackSettings
from engine.contracts.limits import MAX_COUNT


class EmaSettings(CallbackSettings):
    """The exponential moving average of the weights is evaluated and kept."""

    decay: float = Field(
        0.999, ge=0, lt=1, description="share of the average that a step keeps of itself"
    )
    warmup: bool = Field(
        True, description="the first steps keep less: (1 + step) / (10 + step), at most `decay`"
    )


class ScoreSettings(CallbackSettings):
    """A callback that watches a score."""

    metric: str = Field(
        "accuracy", min_length=1, max_length=200, description="name of the score that counts"
    )
    better: Literal["higher", "lower"] = Field("higher", description="which scores are better")


class KeepBestSettings(ScoreSettings):
    """The weights of the evaluation with the best score become the model."""


class EarlyStoppingSettings(ScoreSettings):
    """A stage ends where its score does not get better."""

    patience: int = Field(
        3, ge=1, le=MAX_COUNT, description="evaluations without a better score until the end"
    )
    min_delta: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="by how much a score must be better to count"
    )
