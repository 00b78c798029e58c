"""Settings of the built-in clusterers. Nothing here imports torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts.clustering_settings import ClustererSettings


class AgglomerativeKnnSettings(ClustererSettings):
    """Ward's agglomerative clustering, then a classifier by the nearest neighbours."""

    neighbours: int = Field(4, ge=1, le=100, description="nearest neighbours that vote")


class KMeansSettings(ClustererSettings):
    """Spherical k-means (faiss), then a classifier by the nearest centre."""

    iterations: int = Field(25, ge=1, le=1000, description="rounds of moving the centres")
    restarts: int = Field(3, ge=1, le=100, description="random starts, of which the best counts")
    seed: int = Field(0, ge=0, lt=2**31, description="of the random starts")
