"""An optimizer to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import OptimizerSettings
from pydantic import Field


class ${class_name}Settings(OptimizerSettings):
    """$title."""

    decay: float = Field(
        0.75, gt=0, le=1, description="factor on the learning rate from a segment to the one before"
    )
'''

PLUGIN = '''\
"""`$name`: how the weights are changed once their gradients are known.

Its contract: engine/contracts/optimizer.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from engine.contracts import NamedParameter, OptimizerFactory

from .settings import ${class_name}Settings


class $class_name(OptimizerFactory):
    """$title.

    The head of a tower learns at `lr`, each segment before it by `decay` less.
    """

    settings: ${class_name}Settings

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """One group for each learning rate; norms and biases get no weight decay."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for each in parameters:
            behind = 0 if each.depth is None else each.depths - 1 - each.depth
            lr = self.settings.lr * self.settings.decay**behind
            weight_decay = self.settings.weight_decay if each.parameter.dim() >= 2 else 0.0
            groups.setdefault((lr, weight_decay), []).append(each.parameter)
        return torch.optim.AdamW(
            {"params": params, "lr": lr, "weight_decay": weight_decay}
            for (lr, weight_decay), params in groups.items()
        )
'''

PACKAGE = PackageKind(
    file="optimizer",
    contract="OptimizerFactory",
    contract_module="engine.contracts.optimizer",
    summary="AdamW with a lower learning rate for the early segments of a tower",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"optimizer": "{use: $name, lr: 2.0e-3, weight_decay: 0.1}"},
)
