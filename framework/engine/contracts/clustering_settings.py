"""Settings of embedders and clusterers. Nothing here imports torch or numpy."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.contracts.settings import PluginField, PluginRef, Settings


class EmbedderSettings(Settings):
    """Base of every embedder's settings."""

    otherwise: Annotated[PluginRef[EmbedderSettings], PluginField("embedder")] | None = Field(
        None,
        description="the embedder to use where this one's model cannot be reached: said loudly, and"
        " recorded in the artifact",
    )


class ClustererSettings(Settings):
    """Base of every clusterer's settings."""

    count: Annotated[int, Field(ge=2, le=10_000)] | Literal["auto"] = Field(
        10,
        description="number of clusters, K; auto: the best by a score, from `min_clusters` to"
        " `max_clusters`",
    )
    min_clusters: int = Field(2, ge=2, le=10_000, description="fewest clusters that `auto` tries")
    max_clusters: int = Field(30, ge=2, le=10_000, description="most clusters that `auto` tries")

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.min_clusters > self.max_clusters:
            raise ValueError(
                f"`min_clusters` ({self.min_clusters}) is more than `max_clusters`"
                f" ({self.max_clusters})"
            )
        return self

    def cluster_count(self) -> int | None:
        """K where it is given; ``None`` where it is to be chosen."""
        return None if self.count == "auto" else self.count
