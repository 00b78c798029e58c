"""``int4_groups``: four bits a number, two numbers a byte, one float16 scale for each group.

Sources: the symmetric form, with the group's largest number at level -8, is llama.cpp's Q4_0; the
asymmetric one is ONNX's UINT4 with a zero point (``DequantizeLinear``, opset 21). Both choose among
some scales the one with the smallest squared error (as in OmniQuant, arXiv:2308.13137, there
learned).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.contracts.storage import Grid, Shape, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine_plugins.storage.groups import (
    LARGEST_SCALE,
    GroupedStorage,
    as_groups,
    as_rows,
    blocks,
    group_count,
    pack,
    packed_length,
    row_length,
    unpack,
)
from engine_plugins.storage.settings import Int4GroupsSettings

if TYPE_CHECKING:
    import numpy as np

    _Coded = tuple[np.ndarray, np.ndarray, np.ndarray]
else:
    from engine_plugins import lazy_numpy as np

_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.72)
"""Parts of a group's range that its levels may cover; what lies outside is clipped. 1 comes first:
where the error is 0 there, as in what was decoded before, it stays."""
_MAX_ROUNDS = 1000
_SMALLEST = 2.0**-24  # float16's smallest number above 0

"""Levels [N, group] from 0 to 15, scales float16 [N], zero points [N] from 0 to 15."""


class Int4Groups(GroupedStorage):
    """``number = (level - zero) * scale`` with levels from 0 to 15.

    Symmetric: ``zero`` is 8 and not stored, and a scale may be negative, because the largest
    magnitude of a group, whatever its sign, lies at level 0. Asymmetric: ``zero`` has 4 bits of its
    own, packed like the levels. What is decoded and encoded again gives the same bytes.
    """

    settings: Int4GroupsSettings

    @classmethod
    def candidates(cls) -> Sequence[Mapping[str, Any]]:
        """Every size of group, and zero points with the smallest."""
        return (
            {"group": 128},
            {"group": 64},
            {"group": 32},
            {"group": 32, "symmetric": False},
        )

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """Levels U8 [rows, ceil(length / 2)], scales F16 [rows, groups], packed zero points U8."""
        count = group_count(shape, self.settings.group)
        parts = {
            "": StoredTensor("U8", (shape[0], packed_length(row_length(shape)))),
            ".scale": StoredTensor("F16", (shape[0], count)),
        }
        if not self.settings.symmetric:
            parts[".zero"] = StoredTensor("U8", (shape[0], packed_length(count)))
        return parts

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Levels and scales, and zero points in the asymmetric form.

        Raises:
            WeightsError: a group's scale would be infinite as float16.
        """
        plan, length = self.plan(array.shape), row_length(array.shape)
        rows = array.reshape(len(array), length)
        largest = LARGEST_SCALE * (8 if self.settings.symmetric else 15)
        if rows.size and max(float(rows.max()), -float(rows.min())) > largest / 2:
            raise WeightsError(f"holds numbers up to {largest / 2:,.0f}")
        parts = {key: _empty(part) for key, part in plan.items()}
        for block in blocks(len(rows), length):
            groups = as_groups(rows[block], self.settings.group)
            levels, scale, zero = _settled(
                groups.reshape(-1, self.settings.group), self.settings.symmetric
            )
            shape = groups.shape[:2]
            parts[""].array[block] = pack(as_rows(levels.reshape(groups.shape), length))
            parts[".scale"].array[block] = scale.reshape(shape)
            if ".zero" in parts:
                parts[".zero"].array[block] = pack(zero.reshape(shape))
        return parts

    def grid(self, array: np.ndarray) -> Grid:
        """16 levels for each group."""
        parts, length = self.encode(array), row_length(array.shape)
        step = parts[".scale"].array.astype(np.float32)
        zero: np.ndarray = np.full(step.shape, 8, np.float32)
        if ".zero" in parts:
            zero = unpack(parts[".zero"].array, step.shape[1]).astype(np.float32)
        ends = np.stack([-zero * step, (15 - zero) * step])
        # A symmetric scale may be negative: level 0 is then the largest number.
        low, high, step = (
            np.repeat(each, self.settings.group, axis=1)[:, :length]
            for each in (ends.min(axis=0), ends.max(axis=0), np.abs(step))
        )
        return Grid(step, low, high)

    def _rows(self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray) -> np.ndarray:
        # Exact in float32: 5 bits times 11.
        length, group = row_length(shape), self.settings.group
        levels = as_groups(unpack(parts[""].array[rows], length), group)
        scale = parts[".scale"].array[rows].astype(np.float32)[:, :, None]
        zero: np.ndarray = np.full((1, 1, 1), 8, np.float32)
        if ".zero" in parts:
            packed = parts[".zero"].array[rows]
            zero = unpack(packed, group_count(shape, group)).astype(np.float32)[:, :, None]
        return as_rows((levels - zero) * scale, length)


def _empty(part: StoredTensor) -> StoredArray:
    return StoredArray(
        part.dtype, np.empty(part.shape, np.float16 if part.dtype == "F16" else np.uint8)
    )


def _settled(groups: np.ndarray, symmetric: bool) -> _Coded:
    """Groups [N, group] -> levels, scales, zero points that are the same when encoded again.

    They nearly always are at once, because the largest number of a group lies at the last level.
    Where a float16 scale is too coarse for that, the decoded numbers are encoded until nothing
    changes; the scale gets smaller each time, so that ends.
    """
    levels, scale, zero = _coded(groups, symmetric)
    open_ = np.flatnonzero(~_at_the_ends(levels, symmetric) & (scale != 0))
    for _ in range(_MAX_ROUNDS):
        if not open_.size:
            break
        decoded = (levels[open_].astype(np.float32) - zero[open_, None]) * scale[
            open_, None
        ].astype(np.float32)
        again = _coded(decoded, symmetric)
        changed = (
            (again[0] != levels[open_]).any(axis=1)
            | (again[1] != scale[open_])
            | (again[2] != zero[open_])
        )
        levels[open_], scale[open_], zero[open_] = again
        open_ = open_[changed]
    return levels, scale, zero


def _at_the_ends(levels: np.ndarray, symmetric: bool) -> np.ndarray:
    lowest: np.ndarray = levels.min(axis=1, initial=15) == 0
    return lowest if symmetric else lowest & (levels.max(axis=1, initial=0) == 15)


def _coded(groups: np.ndarray, symmetric: bool) -> _Coded:
    """The best of some scales, for each group by itself."""
    code = _symmetric if symmetric else _asymmetric
    best: _Coded | None = None
    minimum = np.empty(0)
    for ratio in _RATIOS:
        levels, scale, zero = code(groups, ratio)
        decoded = (levels.astype(np.float32) - zero[:, None]) * scale[:, None].astype(np.float32)
        error = np.square(decoded - groups, dtype=np.float64).sum(axis=1)
        if best is None:
            best, minimum = (levels, scale, zero), error
            continue
        better = error < minimum
        for old, new in zip((*best, minimum), (levels, scale, zero, error), strict=True):
            old[better] = new[better]
    assert best is not None
    return best


def _symmetric(groups: np.ndarray, ratio: float) -> _Coded:
    place = np.abs(groups).argmax(axis=1)[:, None]
    extreme = np.take_along_axis(groups, place, axis=1)[:, 0].astype(np.float64)
    scale = _rounded(extreme * (ratio / -8))
    levels = np.rint(groups / _divisor(scale)) + 8
    levels = np.clip(levels, 0, 15).astype(np.uint8)
    return _without_zeros(levels, scale, np.full(len(groups), 8, np.uint8))


def _asymmetric(groups: np.ndarray, ratio: float) -> _Coded:
    lowest = np.minimum(groups.min(axis=1, initial=0), 0).astype(np.float64)
    highest = np.maximum(groups.max(axis=1, initial=0), 0).astype(np.float64)
    scale = _rounded((highest - lowest) * (ratio / 15))
    divisor = _divisor(scale)
    zero = np.clip(np.rint(-lowest * ratio / divisor[:, 0]), 0, 15)
    levels = np.clip(np.rint(groups / divisor) + zero[:, None], 0, 15).astype(np.uint8)
    return _without_zeros(levels, scale, zero.astype(np.uint8))


def _rounded(wanted: np.ndarray) -> np.ndarray:
    """float16 to the nearest; what would be 0 there, and is not, is the smallest number."""
    scale = wanted.astype(np.float16)
    small = (scale == 0) & (wanted != 0)
    return np.where(small, np.copysign(_SMALLEST, wanted), scale).astype(np.float16)


def _divisor(scale: np.ndarray) -> np.ndarray:
    divisor: np.ndarray = np.where(scale != 0, scale, np.float16(1)).astype(np.float32)[:, None]
    return divisor


def _without_zeros(levels: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> _Coded:
    """Groups of zeros have one spelling: scale 0, every level the zero point, which is 8."""
    empty = (levels == zero[:, None]).all(axis=1)
    scale[empty], zero[empty], levels[empty] = 0, 8, 8
    return levels, scale, zero
