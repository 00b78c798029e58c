"""``int8_groups``: eight bits a number, symmetric, one float16 scale for each group of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.contracts.storage import Grid, Shape, StoredArray, StoredTensor
from engine.errors import WeightsError
from engine_plugins.storage.groups import (
    GroupedStorage,
    as_groups,
    as_rows,
    blocks,
    group_count,
    row_length,
)
from engine_plugins.storage.int8_rows import LARGEST, settled_levels
from engine_plugins.storage.settings import Int8GroupsSettings

if TYPE_CHECKING:
    import numpy as np
else:
    from engine_plugins import lazy_numpy as np


class Int8Groups(GroupedStorage):
    """``number = level * scale`` with levels from -127 to 127; see ``int8_rows`` for the scales."""

    settings: Int8GroupsSettings

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        """Levels I8 of the tensor's shape, scales F16 [rows, groups]."""
        count = group_count(shape, self.settings.group)
        return {"": StoredTensor("I8", shape), ".scale": StoredTensor("F16", (shape[0], count))}

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """Levels and scales.

        Raises:
            WeightsError: a group's scale would be infinite as float16.
        """
        length, group = row_length(array.shape), self.settings.group
        rows = array.reshape(len(array), length)
        levels = np.empty(rows.shape, np.int8)
        scales = np.empty((len(rows), group_count(array.shape, group)), np.float16)
        for block in blocks(len(rows), length):
            groups = as_groups(rows[block], group)
            found, scale = settled_levels(groups.reshape(-1, group))
            if np.isinf(scale).any():
                raise WeightsError(f"holds numbers up to {LARGEST:,}")
            levels[block] = as_rows(found.reshape(groups.shape), length)
            scales[block] = scale.reshape(groups.shape[:2])
        return {
            "": StoredArray("I8", levels.reshape(array.shape)),
            ".scale": StoredArray("F16", scales),
        }

    def grid(self, array: np.ndarray) -> Grid:
        """127 levels on each side of zero, for each group."""
        scale = self.encode(array)[".scale"].array.astype(np.float32)
        step = np.repeat(scale, self.settings.group, axis=1)[:, : row_length(array.shape)]
        return Grid(step, -127 * step, 127 * step)

    def _rows(self, parts: Mapping[str, StoredArray], shape: Shape, rows: np.ndarray) -> np.ndarray:
        # Exact in float32: 7 bits times 11.
        length, group = row_length(shape), self.settings.group
        levels = as_groups(parts[""].array[rows].reshape(len(rows), length), group)
        scale = parts[".scale"].array[rows].astype(np.float32)
        return as_rows(levels * scale[:, :, None], length)
