"""A storage to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import StorageSettings
from pydantic import Field


class ${class_name}Settings(StorageSettings):
    """$title."""

    group: int = Field(64, ge=1, le=4096, description="numbers that share a scale")
'''

PLUGIN = '''\
"""`$name`: how a tensor is written into the file of weights, and read again.

Its contract: engine/contracts/storage.py. It imports no torch: `engine size` asks it for its plan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from engine.contracts import Storage, StoredArray, StoredTensor
from engine.errors import WeightsError

from .settings import ${class_name}Settings

LEVELS = 127


class $class_name(Storage):
    """$title.

    One byte a number, and one float16 scale for each group of numbers that follow each other.
    """

    settings: ${class_name}Settings

    def plan(self, shape: tuple[int, ...]) -> Mapping[str, StoredTensor]:
        """What the file will hold, known before there are numbers: exact to the byte."""
        groups = -(-math.prod(shape) // self.settings.group)
        return {"": StoredTensor("I8", shape), ".scale": StoredTensor("F16", (groups,))}

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        """The parts, exactly as the plan says."""
        group = self.settings.group
        groups = -(-array.size // group)
        padded = np.zeros(groups * group, np.float32)
        padded[: array.size] = array.ravel()
        rows = padded.reshape(groups, group)
        # Rounded up, so that no number is clipped; a group of zeros keeps the scale 0.
        wanted = np.abs(rows).max(axis=1, initial=0) / np.float32(LEVELS)
        with np.errstate(over="ignore"):
            scale = wanted.astype(np.float16)
            scale = np.where(scale < wanted, np.nextafter(scale, np.float16(np.inf)), scale)
        if np.isinf(scale).any():
            raise WeightsError(f"holds numbers up to {LEVELS * 65_504:,}")
        divisor = np.where(scale > 0, scale, 1).astype(np.float32)
        levels = np.rint(rows / divisor[:, None]).astype(np.int8).ravel()[: array.size]
        return {
            "": StoredArray("I8", levels.reshape(array.shape)),
            ".scale": StoredArray("F16", scale),
        }

    def decode(self, parts: Mapping[str, StoredArray], shape: tuple[int, ...]) -> np.ndarray:
        """The numbers again, float32, of the tensor's shape."""
        count = math.prod(shape)
        scale = np.repeat(parts[".scale"].array.astype(np.float32), self.settings.group)[:count]
        levels = parts[""].array.ravel().astype(np.float32)
        return (levels * scale).reshape(shape)
'''

PACKAGE = PackageKind(
    file="storage",
    contract="Storage",
    contract_module="engine.contracts.storage",
    summary="one byte a number, with a scale for each group of numbers",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"storage": "storage: {default: {use: $name}, keep: [norms, biases]}\n"},
)
