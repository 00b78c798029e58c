"""Settings of the plugins that the kit is tried on, right ones and wrong ones."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.contracts.plan import TensorPlan, TowerPlan
from engine.contracts.settings import Settings
from engine.contracts.tower_settings import TextEncoderSettings


class TextSettings(TextEncoderSettings):
    """Of the text encoder."""

    width: int = Field(300, ge=1, description="width of all layers")

    def plan(self) -> TowerPlan | None:
        """Every tensor."""
        width = self.width
        tensors = {
            "table.weight": TensorPlan((self.vocab_size, width)),
            "norm.weight": TensorPlan((width,)),
            "norm.bias": TensorPlan((width,)),
        }
        for i in range(2):
            tensors[f"blocks.{i}.linear.weight"] = TensorPlan((width, width))
            tensors[f"blocks.{i}.linear.bias"] = TensorPlan((width,))
        return TowerPlan(width, tensors, embedding_width=width)


class NoPlan(TextSettings):
    """Of text encoders whose tensors are others."""

    def plan(self) -> TowerPlan | None:
        """None."""
        return None


class WrongPlan(TextSettings):
    """The biases are forgotten."""

    def plan(self) -> TowerPlan | None:
        """Without biases."""
        plan = super().plan()
        assert plan is not None
        tensors = {name: t for name, t in plan.tensors.items() if "linear.bias" not in name}
        return TowerPlan(plan.width, tensors, plan.embedding_width)


class PlanOfAnotherWidth(TextSettings):
    """The plan promises more width than there is."""

    def plan(self) -> TowerPlan | None:
        """Twice as wide."""
        plan = super().plan()
        assert plan is not None
        return TowerPlan(2 * plan.width, plan.tensors, plan.embedding_width)


class TakesAnything(TextSettings):
    """Unknown keys are passed over."""

    model_config = ConfigDict(extra="ignore")


class Changeable(TextSettings):
    """Not frozen."""

    model_config = ConfigDict(frozen=False)


class Growing(TextSettings):
    """What is written down is not what was meant."""

    steps: int = 1

    @field_validator("steps")
    @classmethod
    def _double(cls, steps: int) -> int:
        return 2 * steps


class NoJson(TextSettings):
    """Its values cannot be written down."""

    whatever: Any = {1, 2}


class WrongBase(BaseModel):
    """Not even Settings."""


class NotOfTowers(Settings):
    """Settings, but not a text encoder's."""
