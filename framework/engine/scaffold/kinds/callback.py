"""A callback to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import CallbackSettings
from pydantic import Field


class ${class_name}Settings(CallbackSettings):
    """$title."""

    accuracy: float = Field(95.0, ge=0, le=100, description="in percent: enough to end the stage")
    times: int = Field(2, ge=1, description="evaluations in a row that must reach it")
'''

PLUGIN = '''\
"""`$name`: accompanies a run of training.

Its contract: engine/contracts/callback.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.contracts import Callback, StageInfo
from torch import nn

from .settings import ${class_name}Settings


class $class_name(Callback):
    """$title."""

    settings: ${class_name}Settings
    needs_evaluation = True
    reached = 0

    def on_stage(self, stage: StageInfo, model: nn.Module) -> None:
        """A stage begins."""
        self.reached = 0

    def on_evaluate(self, step: int, scores: Mapping[str, float], model: nn.Module) -> bool:
        """The model was evaluated; True asks to end the stage."""
        good = scores.get("accuracy", 0.0) >= self.settings.accuracy
        self.reached = self.reached + 1 if good else 0
        return self.reached >= self.settings.times

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on; tensors are allowed, too."""
        return {"reached": self.reached}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.reached = state["reached"]
'''

PACKAGE = PackageKind(
    file="callback",
    contract="Callback",
    contract_module="engine.contracts.callback",
    summary="ends a stage once the accuracy is good enough",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"callback": "\n  callbacks:\n    - {use: $name}"},
)
