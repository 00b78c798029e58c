"""The whole picture in grey, bars where it is not square: no part of it is cut off."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PROGRAM = '''\
"""The whole picture in grey, between bars."""

import numpy as np
from PIL import Image


def prepare(image, about):
    """An RGB picture of any size, and preprocess.json -> [3, S, S] float32."""
    size, fill = about["size"], about["fill"]
    scale = size / max(image.size)
    inner = [max(1, round(scale * side)) for side in image.size]
    square = Image.new("L", (size, size), fill)
    corner = ((size - inner[0]) // 2, (size - inner[1]) // 2)
    square.paste(image.convert("L").resize(inner, Image.Resampling.BICUBIC), corner)
    grey = (np.array(square, dtype=np.float32) - fill) / 128
    return np.repeat(grey[None], 3, axis=0)
'''


class Letterbox:
    """An `engine.contracts.Preprocess`; also portable, so that the tower can be exported.

    Args:
        size: side of the square, in pixels.
        fill: grey of the bars, 0 to 255; it becomes 0 for the tower.
    """

    def __init__(self, size: int, fill: int) -> None:
        self.size, self.fill = size, fill

    def to_array(self, image: Image.Image) -> Any:
        """RGB of any size -> [size, size, 3] uint8, all three channels alike."""
        scale = self.size / max(image.size)
        inner = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        square = Image.new("L", (self.size, self.size), self.fill)
        corner = ((self.size - inner[0]) // 2, (self.size - inner[1]) // 2)
        square.paste(image.convert("L").resize(inner, Image.Resampling.BICUBIC), corner)
        return np.repeat(np.array(square)[..., None], 3, axis=2)

    def to_tensor(self, batch: Tensor) -> Tensor:
        """[B, size, size, 3] uint8 -> [B, 3, size, size] float32, the bars 0."""
        return (batch.permute(0, 3, 1, 2).to(torch.float32) - self.fill) / 128

    def identity(self) -> str:
        """What the numbers of `to_tensor` follow from."""
        return f"letterbox, {self.fill} is 0, divided by 128"

    def to_json(self) -> dict[str, Any]:
        """What the program of an export needs to know."""
        return {"size": self.size, "fill": self.fill}

    def program(self) -> str:
        """The same steps for an export, without torch."""
        return PROGRAM
