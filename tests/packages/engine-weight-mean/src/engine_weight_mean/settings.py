"""What a config may say to `weight_mean`; no torch here."""

from __future__ import annotations

from pydantic import Field

from engine.contracts import CallbackSettings


class WeightMeanSettings(CallbackSettings):
    """The mean of the weights after every step, from one step on."""

    after: int = Field(0, ge=0, description="steps of the run that do not count")
