"""``int8_rows``: eight bits a number, symmetric, one float16 scale for each row.

A row is everything that shares an index of the first axis: an output of a linear layer or of a
convolution, a token of an embedding table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.contracts.storage import Grid, Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine_plugins.storage.groups import blocks

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np

_LEVELS = 127
LARGEST = _LEVELS * 65_504
"""The largest number that is held: times the largest float16."""
_MAX_ROUNDS = 1000


class Int8Rows(Storage):
    """``number = level * scale`` with levels from -127 to 127.

    The scale of a row is the smallest float16 that is not below ``largest / 127``, where
    ``largest`` is the largest magnitude in the row; each number is off by at most half a scale.
    Where float16 is coarse (below 6e-5) it may be one step less, so that what is decoded is encoded
    as it was. A row of zeros has the scale 0 and comes back as zeros, and so does a row of which
    nothing is left (below 3e-8).
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
        levels = np.empty(rows.shape, np.int8)
        scale = np.empty(len(rows), np.float16)
        for block in blocks(*rows.shape):
            levels[block], scale[block] = settled_levels(rows[block])
        if np.isinf(scale).any():
            raise WeightsError(f"holds numbers up to {LARGEST:,}")
        return {
            "": StoredArray("I8", levels.reshape(array.shape)),
            ".scale": StoredArray("F16", scale),
        }

    def grid(self, array: np.ndarray) -> Grid:
        """127 levels on each side of zero."""
        scale = self.encode(array)[".scale"].array.astype(np.float32)[:, None]
        return Grid(scale, -_LEVELS * scale, _LEVELS * scale)

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """Levels times scales: exact in float32 (7 bits times 11)."""
        levels, scale = (
            parts[""].array.reshape(shape[0], math.prod(shape[1:])),
            parts[".scale"].array,
        )
        found = np.empty(levels.shape, np.float32)
        for block in blocks(*levels.shape):
            found[block] = _decoded(levels[block], scale[block])
        return found.reshape(shape)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        return _decoded(parts[""].array[rows], parts[".scale"].array[rows])


def settled_levels(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N, L] -> levels int8 [N, L] and scales float16 [N], the same when encoded again.

    They nearly always are at once, because the largest number of a row lies at level 127. Where a
    float16 scale is too coarse for that (below 6e-5), the decoded numbers are encoded until nothing
    changes; the scale gets smaller each time, so that ends. A scale that float16 does not hold is
    infinite.
    """
    levels, scale = _levels(rows)
    top = np.abs(levels).max(axis=1, initial=0)
    open_ = np.flatnonzero((top < _LEVELS) & np.isfinite(scale))
    for _ in range(_MAX_ROUNDS):
        if not open_.size:
            break
        again, finer = _levels(_decoded(levels[open_], scale[open_]))
        changed = (finer != scale[open_]) | (again != levels[open_]).any(axis=1)
        levels[open_], scale[open_] = again, finer
        open_ = open_[changed]
    return levels, scale


def _levels(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = _scales(np.abs(rows).max(axis=1, initial=0.0))
    usable = (scale > 0) & np.isfinite(scale)
    divisor = np.where(usable, scale, np.float16(1)).astype(np.float32)
    levels = np.clip(np.rint(rows / divisor[:, None]), -_LEVELS, _LEVELS).astype(np.int8)
    scale[~levels.any(axis=1) & usable] = 0  # nothing is left: as a row of zeros
    return levels, scale


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
