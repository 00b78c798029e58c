"""Right and wrong storages. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.contracts.storage import Shape, Storage, StoredArray, StoredTensor
from engine.errors import WeightsError

Parts = Mapping[str, StoredArray]


class RightStorage(Storage):
    """One byte a number, and the largest magnitude of the tensor."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {"": StoredTensor("I8", shape), ".largest": StoredTensor("F32", ())}

    def encode(self, array: np.ndarray) -> Parts:
        largest = np.abs(array).max(initial=0).astype(np.float32).reshape(())
        if largest > 1e38:
            raise WeightsError("holds numbers up to 1e38")
        levels = np.zeros(array.shape, np.int8)
        if largest >= 1e-38:  # smaller ones are as good as zeros
            levels = np.rint(array / largest * np.float32(127)).astype(np.int8)
        return {"": StoredArray("I8", levels), ".largest": StoredArray("F32", largest)}

    def decode(self, parts: Parts, shape: Shape) -> np.ndarray:
        found: np.ndarray = parts[""].array.astype(np.float32) / np.float32(127)
        return np.asarray(found * parts[".largest"].array, np.float32)


class MatricesAlone(RightStorage):
    """Holds what has two dimensions, and nothing else."""

    def fits(self, shape: Shape) -> bool:
        return len(shape) == 2

    def encode(self, array: np.ndarray) -> Parts:
        assert array.ndim == 2
        return super().encode(array)


class PlansTooLittle(RightStorage):
    """Forgets a part."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {"": StoredTensor("I8", shape)}


class PlansNothingOfAFile(RightStorage):
    """A dtype of four bits, which no file has."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {"": StoredTensor("I4", shape), ".largest": StoredTensor("F32", ())}


class WrongArray(RightStorage):
    """Says I8 and gives int16."""

    def encode(self, array: np.ndarray) -> Parts:
        parts = super().encode(array)
        return {**parts, "": StoredArray("I8", parts[""].array.astype(np.int16))}


class Flat(RightStorage):
    """Forgets the shape."""

    def decode(self, parts: Parts, shape: Shape) -> np.ndarray:
        return super().decode(parts, shape).ravel()


class Doubles(RightStorage):
    """Float64 comes back."""

    def decode(self, parts: Parts, shape: Shape) -> np.ndarray:
        return super().decode(parts, shape).astype(np.float64)


class OtherSign(RightStorage):
    """Every number comes back with the other sign."""

    def decode(self, parts: Parts, shape: Shape) -> np.ndarray:
        return -super().decode(parts, shape)


class SaysLossless(RightStorage):
    """It is not."""

    lossless = True


class Changes(RightStorage):
    """Rounds the caller's own array."""

    def encode(self, array: np.ndarray) -> Parts:
        parts = super().encode(array)
        array[...] = np.round(array, 2)
        return parts


class ReadsMemory(RightStorage):
    """Depends on how the numbers lie in memory."""

    def encode(self, array: np.ndarray) -> Parts:
        parts = super().encode(array)
        levels = parts[""].array.ravel(order="K").reshape(array.shape)
        return {**parts, "": StoredArray("I8", levels)}


class WrongRows(RightStorage):
    """The first rows, whichever are asked for."""

    def decode_rows(self, parts: Parts, shape: Shape, rows: np.ndarray) -> np.ndarray:
        return self.decode(parts, shape)[: len(rows)]


class Overflows(RightStorage):
    """Divides by a half float, which becomes infinite."""

    def encode(self, array: np.ndarray) -> Parts:
        with np.errstate(over="ignore"):
            largest: Any = np.abs(array).max(initial=0).astype(np.float16).astype(np.float32)
        levels = np.zeros(array.shape, np.int8)
        if 0 < largest < np.inf:
            levels = np.clip(np.rint(array / largest * np.float32(127)), -127, 127).astype(np.int8)
        return {"": StoredArray("I8", levels), ".largest": StoredArray("F32", largest.reshape(()))}

    def decode(self, parts: Parts, shape: Shape) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return super().decode(parts, shape)
