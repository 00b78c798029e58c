"""`int12`: levels from -2047 to 2047, two of them in three bytes, and a scale for each block."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from engine.contracts import Storage, StoredArray, StoredTensor

from .settings import Int12Settings

LEVELS = 2047


class Int12(Storage):
    """A tensor of any shape; the numbers lie one after the other, blocks are cut from them."""

    settings: Int12Settings

    def plan(self, shape: tuple[int, ...]) -> Mapping[str, StoredTensor]:
        """Three bytes for two numbers, rounded up, and four bytes a block."""
        count = math.prod(shape)
        return {
            ".packed": StoredTensor("U8", (-(-count // 2), 3)),
            ".scale": StoredTensor("F32", (-(-count // self.settings.block),)),
        }

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Levels, rounded to the nearest."""
        flat = array.ravel()
        blocks = -(-flat.size // self.settings.block)
        padded = np.zeros((blocks, self.settings.block), np.float32)
        padded.reshape(-1)[: flat.size] = flat
        scale = np.abs(padded).max(axis=1, initial=0) / np.float32(LEVELS)
        # Blocks whose scale is not a normal number (below 1e-38) are stored as zeros.
        scale[scale < np.finfo(np.float32).tiny] = 0
        divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
        levels = np.clip(np.rint(padded / divisor), -LEVELS, LEVELS).astype(np.int32) + 2048
        pairs = levels.reshape(-1)[: 2 * -(-flat.size // 2)].reshape(-1, 2)
        packed = np.stack(
            [
                pairs[:, 0] & 255,
                (pairs[:, 0] >> 8) | ((pairs[:, 1] & 15) << 4),
                pairs[:, 1] >> 4,
            ],
            axis=1,
        )
        return {
            ".packed": StoredArray("U8", packed.astype(np.uint8)),
            ".scale": StoredArray("F32", scale),
        }

    def decode(self, parts: Mapping[str, StoredArray], shape: tuple[int, ...]) -> np.ndarray:
        """Levels times scales."""
        count = math.prod(shape)
        packed = parts[".packed"].array.astype(np.int32)
        pairs = np.stack(
            [
                packed[:, 0] | ((packed[:, 1] & 15) << 8),
                (packed[:, 1] >> 4) | (packed[:, 2] << 4),
            ],
            axis=1,
        )
        levels = (pairs.reshape(-1)[:count] - 2048).astype(np.float32)
        scale = np.repeat(parts[".scale"].array, self.settings.block)[:count]
        return (levels * scale).reshape(shape)
