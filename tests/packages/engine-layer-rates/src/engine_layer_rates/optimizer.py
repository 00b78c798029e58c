"""Layer-wise learning rates (ULMFiT: Howard and Ruder, 2018; BEiT: Bao et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.contracts import NamedParameter, OptimizerFactory

from .settings import LayerRatesSettings


class LayerRates(OptimizerFactory):
    """The head learns at `lr`, each segment before it by the factor `decay` less."""

    settings: LayerRatesSettings

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """One group for each learning rate and weight decay."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for each in parameters:
            behind = 0 if each.depth is None else each.depths - 1 - each.depth
            lr = self.settings.lr * self.settings.decay**behind
            weight_decay = self.settings.weight_decay if each.parameter.dim() >= 2 else 0.0
            groups.setdefault((lr, weight_decay), []).append(each.parameter)
        return torch.optim.AdamW(
            [
                {"params": params, "lr": lr, "weight_decay": weight_decay}
                for (lr, weight_decay), params in groups.items()
            ]
        )
