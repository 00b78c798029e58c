"""What a config may say to `layer_rates`; no torch here."""

from __future__ import annotations

from pydantic import Field

from engine.contracts import OptimizerSettings


class LayerRatesSettings(OptimizerSettings):
    """AdamW whose learning rate falls from the head of a tower to its stem."""

    decay: float = Field(
        0.75, gt=0, le=1, description="factor on the learning rate from a segment to the one before"
    )
