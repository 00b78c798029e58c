"""What a config may say to `grey_patches`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from pydantic import Field

from engine.contracts import VisionTowerSettings


class GreyPatchesSettings(VisionTowerSettings):
    """Patches of a grey picture."""

    image_size: int = Field(64, ge=16, multiple_of=8, description="side of the square")
    width: int = Field(64, ge=1, description="channels, and width of the features")
    layers: int = Field(2, ge=0, description="blocks")
    fill: int = Field(128, ge=0, le=255, description="grey of the bars beside the picture")
