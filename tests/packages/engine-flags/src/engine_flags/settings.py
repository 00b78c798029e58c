"""Settings of `flags`. Nothing here imports torch, numpy or PIL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contracts import DatasetSettings


class FlagsSettings(DatasetSettings):
    """Striped flags of countries, faded and creased by chance, with Russian queries."""

    split: Literal["train", "test"] = Field("train", description="`test`: other pictures of them")
    count: int | None = Field(
        None, ge=1, description="number of images (default: 1200 in train, 10 a country in test)"
    )
    seed: int = Field(0, ge=0, description="of the pictures and the queries")
    size: int = Field(64, ge=16, le=1024, description="width of an image, in pixels")
