"""``float8``: eight bits a number, four of them exponent, one float16 scale for each row.

The format is E4M3FN (Micikevicius et al., 2022, arXiv:2209.05433): numbers up to 448, 3 bits of
mantissa, steps of 2^-9 below 2^-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from engine.contracts.storage import Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine_plugins.storage.groups import LARGEST_SCALE, blocks, row_length
from engine_plugins.storage.settings import Float8Settings

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np

_LARGEST = 448.0
_SMALLEST_NORMAL = 2.0**-6
_SMALLEST_SCALE = 2.0**-24  # float16's smallest number above 0


class Float8(Storage):
    """``number = float8 * scale``; the largest magnitude of a row becomes 448.

    So the numbers of a row have nearly the same relative error, 1 part in 16, down to a 28,672nd of
    the largest. A vector is one row.
    """

    settings: Float8Settings

    def fits(self, shape: Shape) -> bool:
        """Everything but a single number."""
        return len(shape) >= 1

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """Numbers F8_E4M3 of the tensor's shape, scales F16 [rows]."""
        return {
            "": StoredTensor("F8_E4M3", shape),
            ".scale": StoredTensor("F16", (_as_rows(shape)[0],)),
        }

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Numbers and scales.

        Raises:
            WeightsError: a row's scale would be infinite as float16.
        """
        shape = _as_rows(array.shape)
        rows = array.reshape(shape)
        largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64) / _LARGEST
        if (largest > LARGEST_SCALE).any():
            raise WeightsError(f"holds numbers up to {_LARGEST * LARGEST_SCALE:,.0f}")
        scale = largest.astype(np.float16)
        scale[(scale == 0) & (largest > 0)] = _SMALLEST_SCALE
        codes = np.empty(shape, np.uint8)
        for block in blocks(*shape):
            divisor = np.where(scale[block] > 0, scale[block], np.float16(1)).astype(np.float32)
            codes[block] = to_codes(rows[block] / divisor[:, None])
        # A row of which nothing is left has the scale 0, as a row of zeros.
        scale[((codes & 0x7F) == 0).all(axis=1)] = 0
        codes[scale == 0] = 0
        return {
            "": StoredArray("F8_E4M3", codes.reshape(array.shape)),
            ".scale": StoredArray("F16", scale),
        }

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """Numbers times scales: exact in float32 (4 bits times 11)."""
        rows = _as_rows(shape)
        return _decoded(parts[""].array.reshape(rows), parts[".scale"].array).reshape(shape)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        if len(shape) == 1:
            found: np.ndarray = self.decode(parts, shape)[rows]
            return found
        codes = parts[""].array[rows].reshape(len(rows), row_length(shape))
        return _decoded(codes, parts[".scale"].array[rows]).reshape(len(rows), *shape[1:])


def _as_rows(shape: Shape) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[0], row_length(shape))


def to_codes(numbers: np.ndarray) -> np.ndarray:
    """float32 -> the bits of E4M3FN as uint8: to the nearest, ties to even, at most 448."""
    magnitude = np.minimum(np.abs(numbers), np.float32(_LARGEST))
    bits = np.ascontiguousarray(magnitude, np.float32).view(np.uint32)
    # Half of the last kept bit, less one where that bit is 0; then the exponent counts from 2^-7.
    normal = ((bits + (np.uint32(0x7FFFF) + ((bits >> 20) & np.uint32(1)))) >> 20).astype(np.int64)
    normal -= (127 - 7) << 3
    below = np.rint(magnitude * np.float32(2**9)).astype(np.int64)  # 8 is the smallest normal one
    codes = np.where(magnitude < _SMALLEST_NORMAL, below, normal)
    found: np.ndarray = (codes | (np.signbit(numbers) << 7)).astype(np.uint8)
    return found


@cache
def _table() -> np.ndarray:
    codes = np.arange(128)
    exponent, mantissa = codes >> 3, codes & 7
    positive = np.where(
        exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0)
    )
    positive[127] = 0.0  # NaN in the format; no encoder writes it, and every number is finite
    return np.concatenate([positive, -positive]).astype(np.float32)


def _decoded(codes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    found: np.ndarray = _table()[codes] * scale.astype(np.float32)[:, None]
    return found
