"""Settings of the kinds that only training uses. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts.settings import Settings


class LossSettings(Settings):
    """Base of every loss's settings."""

    weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="factor on this loss in the sum of all"
    )


class SamplerSettings(Settings):
    """Base of every sampler's settings."""


class LoggerSettings(Settings):
    """Base of every logger's settings."""


class OptimizerSettings(Settings):
    """Base of every optimizer's settings."""

    lr: float = Field(1e-4, gt=0, allow_inf_nan=False, description="learning rate at its highest")
    weight_decay: float = Field(
        5e-5, ge=0, allow_inf_nan=False, description="pull of every weight towards 0"
    )


class CallbackSettings(Settings):
    """Base of every callback's settings."""
