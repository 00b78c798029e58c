"""A storage of the tests' own, and plans of models for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.contracts.hooks import Plugin
from engine.contracts.plan import Plan, TensorPlan
from engine.contracts.storage import (
    Shape,
    Storage,
    StorageSettings,
    StoredArray,
    StoredTensor,
)
from engine.core.config.schema import WeightStorageSettings
from engine.core.registry import default_registry
from engine.core.storage import StoragePlan, plan_storage


class Pairs(Storage):
    """Two numbers a byte, four bits each, with the largest of the tensor: odd ones need a shape."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        count = int(np.prod(shape))
        return {"": StoredTensor("U8", (-(-count // 2),)), ".largest": StoredTensor("F32", ())}

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        largest = np.abs(array).max(initial=0).astype(np.float32)
        levels = np.rint(array.ravel() / (largest or 1) * 7 + 8).astype(np.uint8)
        levels = np.append(levels, [0] * (levels.size % 2)).astype(np.uint8)
        return {
            "": StoredArray("U8", levels[::2] | levels[1::2] << 4),
            ".largest": StoredArray("F32", np.float32(largest).reshape(())),
        }

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        packed, count = parts[""].array, int(np.prod(shape))
        levels = np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count].astype(np.float32)
        largest = parts[".largest"].array
        return ((levels - 8) / np.float32(7) * largest).astype(np.float32).reshape(shape)


class Liar(Pairs):
    """Plans something else than it gives."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {**super().plan(shape), "": StoredTensor("U8", (1,))}


class Unreadable(Pairs):
    """Gives infinity back."""

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        return np.full(shape, np.inf, np.float32)


class NoDtype(Pairs):
    """Plans a dtype that no file has."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {"": StoredTensor("I3", shape)}


class Carrier(Pairs):
    """Carries bytes in an array of another dtype."""

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        parts = super().encode(array)
        return {**parts, "": StoredArray("U8", parts[""].array.astype(np.int16))}


class PairsSettings(StorageSettings):
    """With something to choose."""

    note: str = ""


OWN = {
    one.__name__.lower(): Plugin(
        "storage", one.__name__.lower(), f"{__name__}:{one.__name__}", f"{__name__}:PairsSettings"
    )
    for one in (Pairs, Liar, Unreadable, NoDtype, Carrier)
}


class World:
    """The installed plugins and those above."""

    def get(self, kind: str, name: str) -> Plugin:
        return OWN[name] if name in OWN else default_registry().get(kind, name)

    def names(self, kind: str) -> list[str]:
        return default_registry().names(kind)


WORLD: Any = World()


def section(**values: Any) -> WeightStorageSettings:
    return WeightStorageSettings.model_validate(values, context={"registry": WORLD})


def planned(plan: Plan, **values: Any) -> StoragePlan:
    return plan_storage(plan, section(**values))


PLAN: Plan = {
    "text.embedding.weight": TensorPlan((10, 4)),
    "text.block.norm.weight": TensorPlan((4,)),
    "text.block.norm.bias": TensorPlan((4,)),
    "text.block.norm.running_mean": TensorPlan((4,), buffer=True),
    "text.block.norm.num_batches_tracked": TensorPlan((), "int64", buffer=True),
    "text.block.linear.weight": TensorPlan((3, 4)),
    "text.block.linear.bias": TensorPlan((3,)),
    "text.block.attention.in_proj_bias": TensorPlan((12,)),
    "text.token": TensorPlan((4,)),
    "vision.conv.weight": TensorPlan((3, 2, 5, 5)),
    "logit_scale": TensorPlan(()),
}


def numbers(plan: Plan, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    dtypes = {"float": np.float32, "int64": np.int64, "bool": np.bool_}
    return {
        name: (random.normal(size=tensor.shape) * 10).astype(dtypes[tensor.dtype])
        for name, tensor in plan.items()
    }
