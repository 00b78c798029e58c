"""The floating-point storages: ``float32``, ``float16`` and ``bfloat16``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from engine.contracts.storage import Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np


class _Float(Storage):
    """One part of the tensor's own shape."""

    code: ClassVar[str]

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """One part, of the tensor's shape."""
        return {"": StoredTensor(self.code, shape)}


class Float32(_Float):
    """The numbers as they are: 4 bytes each."""

    lossless = True
    code = "F32"

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """The array itself, without a copy."""
        return {"": StoredArray(self.code, array)}

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The part's array itself, without a copy."""
        return parts[""].array


class Float16(_Float):
    """IEEE half precision, rounded to the nearest (ties to even): 2 bytes each."""

    code = "F16"

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Rounded numbers.

        Raises:
            WeightsError: a number would become infinite (65,520 and more).
        """
        with np.errstate(over="ignore"):  # looked for below, with a message
            rounded = array.astype(np.float16)
        if np.isinf(rounded).any():
            raise WeightsError("holds numbers up to 65,504")
        return {"": StoredArray(self.code, rounded)}

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The same numbers as float32: exact."""
        return parts[""].array.astype(np.float32)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        found: np.ndarray = parts[""].array[rows].astype(np.float32)
        return found


class BFloat16(_Float):
    """float32 without the last 16 bits, rounded to the nearest (ties to even): 2 bytes each."""

    code = "BF16"

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Rounded numbers, their bits as uint16.

        Raises:
            WeightsError: a number would become infinite (over 3.39e38).
        """
        bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
        # Half of the last kept bit, less one where that bit is 0: a tie then goes to the even one.
        # Finite numbers only, so the sum never passes 2^32.
        rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1)))) >> 16
        stored = rounded.astype(np.uint16).reshape(array.shape)
        if ((stored & 0x7F80) == 0x7F80).any():  # an exponent of ones is infinity
            raise WeightsError("holds numbers up to 3.38953e+38")
        return {"": StoredArray(self.code, stored)}

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        """The same numbers as float32: exact."""
        return _widened(parts[""].array).reshape(shape)

    def decode_rows(
        self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray
    ) -> np.ndarray:
        """Reads these rows alone."""
        found = parts[""].array[rows]
        return _widened(found).reshape(found.shape)


def _widened(bits: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)
