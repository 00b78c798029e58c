"""``int8_rows``: eight bits a number, symmetric, one float16 scale for each row.

A row is everything that shares an index of the first axis: an output of a linear layer or of a
convolution, a token of an embedding table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from engine.contracts.storage import Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError

_LEVELS = 127
_LARGEST = _LEVELS * 65_504  # times the largest float16


class Int8Rows(Storage):
    """``number = level * scale`` with levels from -127 to 127.

    The scale of a row is the smallest float16 that is not below ``largest / 127``, where
    ``largest`` is the largest magnitude in the row. So no number is clipped, also where float16 is
    coarse (below 6e-5), and each one is off by at most half a scale. A row of zeros has the scale 0
    and comes back as zeros.
    """

    def fits(self, shape: Shape) -> bool:
        """Matrices and larger: the row of a vector would be a single number."""
        return len(shape) >= 2

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """Levels I8 of the tensor's shape, scales F16 [rows]."""
        return {"": StoredTensor("I8", shape), ".scale": StoredTensor("F16", shape[:1])}

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Levels and scales.

        Raises:
            WeightsError: a row's scale would be infinite as float16.
        """
        rows = array.reshape(array.shape[0], math.prod(array.shape[1:]))
        scale = _scales(np.abs(rows).max(axis=1, initial=0.0))
        if np.isinf(scale).any():
            raise WeightsError(f"holds numbers up to {_LARGEST:,}")
        divisor = np.where(scale > 0, scale, np.float16(1)).astype(np.float32)
        levels = np.rint(rows / divisor[:, None]).astype(np.int8).reshape(array.shape)
        return {"": StoredArray("I8", levels), ".scale": StoredArray("F16", scale)}

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """Levels times scales: exact in float32 (7 bits times 11)."""
        return _decoded(parts[""].array, parts[".scale"].array)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        return _decoded(parts[""].array[rows], parts[".scale"].array[rows])


def _scales(largest: np.ndarray) -> np.ndarray:
    """The smallest float16 not below ``largest / 127``, infinity where there is none."""
    wanted = largest.astype(np.float64) / _LEVELS
    with np.errstate(over="ignore"):  # infinity is looked for by the caller
        nearest = wanted.astype(np.float16)
        above = np.nextafter(nearest, np.float16(np.inf))
    return np.where(nearest.astype(np.float64) < wanted, above, nearest)


def _decoded(levels: np.ndarray, scale: np.ndarray) -> np.ndarray:
    factors = scale.astype(np.float32).reshape(-1, *[1] * (levels.ndim - 1))
    return levels.astype(np.float32) * factors
