"""Settings of the built-in optimizers. Nothing here imports torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from engine.contracts import OptimizerSettings, Settings


class GroupSettings(Settings):
    """Other numbers for the parameters whose names match a pattern."""

    match: str = Field(
        min_length=1,
        max_length=200,
        description="name pattern, `*` stands for anything: `text.*`, `*.bias`",
    )
    lr: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="learning rate at its highest"
    )
    weight_decay: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="pull of every weight towards 0"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.lr is None and self.weight_decay is None:
            raise ValueError("give `lr`, `weight_decay` or both")
        return self


class GroupedSettings(OptimizerSettings):
    """Base: norms, biases and single numbers get no weight decay, unless a group says so."""

    groups: tuple[GroupSettings, ...] = Field(
        (),
        max_length=1000,
        description="other rates and weight decays by name pattern; the first that matches counts",
    )


class AdamSettings(GroupedSettings):
    """Adam: the weight decay is added to the gradient."""

    betas: tuple[float, float] = Field(
        (0.9, 0.98), description="how long the means of gradients and of their squares remember"
    )
    eps: float = Field(
        1e-6, gt=0, allow_inf_nan=False, description="added to the divisor of a step"
    )

    @field_validator("betas")
    @classmethod
    def _shares(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("each of `betas` must be at least 0 and less than 1")
        return betas


class AdamWSettings(AdamSettings):
    """AdamW: the weight decay is taken from the weights."""


class SparseAdamSettings(AdamSettings):
    """Adam for tables with sparse gradients: only rows that a batch uses are touched."""

    betas: tuple[float, float] = Field(
        (0.9, 0.999), description="how long the means of gradients and of their squares remember"
    )
    eps: float = Field(
        1e-8, gt=0, allow_inf_nan=False, description="added to the divisor of a step"
    )


class SgdSettings(GroupedSettings):
    """Stochastic gradient descent: the weight decay is added to the gradient."""

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last step that is kept")
    nesterov: bool = Field(False, description="look ahead by the momentum (Nesterov)")

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs a `momentum` above 0")
        return self
