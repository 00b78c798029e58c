"""Settings of the built-in samplers. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field, field_validator

from engine.contracts import SamplerSettings
from engine.contracts.limits import MAX_COUNT


class ShuffledSettings(SamplerSettings):
    """Every row once an epoch, in random order."""


class InClusterSettings(SamplerSettings):
    """A share of every batch comes from one cluster."""

    share: tuple[float, float] = Field(
        (0.0, 0.5),
        description="of a batch that comes from one cluster, at the start of the stage and at its"
        " end, in a straight line between",
    )

    @field_validator("share")
    @classmethod
    def _is_share(cls, share: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= one <= 1 for one in share):
            raise ValueError("each of `share` must be from 0 to 1")
        return share


class WindowedSettings(SamplerSettings):
    """Shards in random order, some at once, their rows mixed within a window."""

    window: int = Field(
        8192, ge=1, le=MAX_COUNT, description="rows that are mixed, of all streams together"
    )
    streams: int = Field(
        8, ge=1, le=1024, description="shards that are read at once; each gives its part of a batch"
    )
