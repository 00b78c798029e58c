"""What the storages of groups share: rows cut into groups, levels packed two to a byte.

A row is everything that shares an index of the first axis, read in C order: an output of a linear
layer or of a convolution, a token of an embedding table. It is cut into groups of neighbours; the
last group of a row may be shorter.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engine.contracts.storage import Shape, Storage, StoredArray

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np

_BLOCK = 1 << 21  # numbers that are encoded at once, so that temporary arrays stay small

LARGEST_SCALE = 65_504.0
"""The largest float16."""


def row_length(shape: Shape) -> int:
    """Numbers in one row."""
    return math.prod(shape[1:])


def group_count(shape: Shape, group: int) -> int:
    """Groups of one row."""
    return -(-row_length(shape) // group)


def blocks(rows: int, length: int) -> Iterator[slice]:
    """Blocks of rows that are small enough to work on at once."""
    step = max(1, _BLOCK // max(1, length))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def as_groups(rows: np.ndarray, group: int) -> np.ndarray:
    """[R, L] -> float32 [R, G, group]; what a last group lacks is filled with zeros."""
    count = -(-rows.shape[1] // group)
    filled = np.zeros((len(rows), count * group), np.float32)
    filled[:, : rows.shape[1]] = rows
    return filled.reshape(len(rows), count, group)


def as_rows(groups: np.ndarray, length: int) -> np.ndarray:
    """[R, G, group] -> [R, length]: the opposite of :func:`as_groups`."""
    return groups.reshape(len(groups), groups.shape[1] * groups.shape[2])[:, :length]


def packed_length(length: int) -> int:
    """Bytes of a row of 4-bit levels."""
    return -(-length // 2)


def pack(levels: np.ndarray) -> np.ndarray:
    """uint8 [R, L] with levels from 0 to 15 -> uint8 [R, ceil(L / 2)].

    The first of two neighbours lies in the low half of the byte, as in ONNX's INT4 and UINT4. What
    an odd last byte lacks is 0.
    """
    if levels.shape[1] % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    packed: np.ndarray = (levels[:, 0::2] | (levels[:, 1::2] << 4)).astype(np.uint8)
    return packed


def unpack(packed: np.ndarray, length: int) -> np.ndarray:
    """uint8 [R, ceil(L / 2)] -> uint8 [R, L]: the opposite of :func:`pack`."""
    levels = np.empty((len(packed), 2 * packed.shape[1]), np.uint8)
    levels[:, 0::2] = packed & 15
    levels[:, 1::2] = packed >> 4
    return levels[:, :length]


class GroupedStorage(Storage):
    """Base of the storages of groups: each row is decoded by itself."""

    def fits(self, shape: Shape) -> bool:
        """Matrices and larger."""
        return len(shape) >= 2

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """Levels less zero points, times scales: exact in float32."""
        found = np.empty((shape[0], row_length(shape)), np.float32)
        for block in blocks(shape[0], row_length(shape)):
            found[block] = self._rows(parts, shape, np.arange(block.start, block.stop))
        return found.reshape(shape)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        return self._rows(parts, shape, rows).reshape(len(rows), *shape[1:])

    @abstractmethod
    def _rows(self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray) -> np.ndarray:
        """Some rows, int64 [N], decoded: float32 [N, L]."""
