"""Right and wrong compressors. Nothing here imports torch at import."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts

_COUNT = itertools.count()


class RightCompressor(Compressor):
    """Cuts the position table to the tokens that a text can have."""

    @property
    def lossless(self) -> str | None:
        return "every text"

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        rows: int = model.text.max_tokens
        return CompressionStep({"text.n_positions": rows}, f"{rows} positions stay")

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Any]:
        made = dict(tensors)
        for name, shape in shapes.items():
            if tuple(tensors[name].shape) != shape:
                made[name] = tensors[name][: shape[0]].clone()
        return made


class HasNothingToDo(RightCompressor):
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        return None


class MakesItLarger(RightCompressor):
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        return CompressionStep({"text.n_positions": 41}, "more positions")


class SaysNothing(RightCompressor):
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        return CompressionStep({"text.n_positions": model.text.max_tokens}, " ")


class ChangesToNonsense(RightCompressor):
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        return CompressionStep({"text.n_positions": "few"}, "few positions stay")


class PlansAtRandom(RightCompressor):
    def plan(self, model: ModelFacts) -> CompressionStep | None:
        return CompressionStep({"text.n_positions": 20 + next(_COUNT) % 7}, "some positions stay")


class KeepsTheTable(RightCompressor):
    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Any]:
        return dict(tensors)


class WritesInPlace(RightCompressor):
    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Any]:
        made = super().apply(step, tensors, shapes)
        tensors["logit_scale"].fill_(3.0)
        return made


class TakesTheLastRows(RightCompressor):
    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Any]:
        made = super().apply(step, tensors, shapes)
        name = "text.places.weight"
        made[name] = tensors[name][-shapes[name][0] :].clone()
        return made
