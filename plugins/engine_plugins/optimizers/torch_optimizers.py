"""PyTorch's own optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.contracts.optimizer import NamedParameter, OptimizerFactory
from engine_plugins.optimizers.groups import parameter_groups
from engine_plugins.optimizers.settings import AdamSettings, SgdSettings


class Adam(OptimizerFactory):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980); the weight decay is part of the gradient."""

    settings: AdamSettings
    _kind: type[torch.optim.Adam] = torch.optim.Adam

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """See the contract. Fused where PyTorch has it for the device: one pass over the memory."""
        devices = {each.parameter.device.type for each in parameters}
        return self._kind(
            parameter_groups(parameters, self.settings),
            lr=self.settings.lr,
            betas=self.settings.betas,
            eps=self.settings.eps,
            fused=devices <= {"cpu", "cuda"},
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101)."""

    _kind = torch.optim.AdamW


class Sgd(OptimizerFactory):
    """Stochastic gradient descent with momentum (Sutskever et al., 2013)."""

    settings: SgdSettings

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """See the contract. Fused on a GPU of CUDA; on the CPU the plain one is kept."""
        devices = {each.parameter.device.type for each in parameters}
        return torch.optim.SGD(
            parameter_groups(parameters, self.settings),
            lr=self.settings.lr,
            momentum=self.settings.momentum,
            nesterov=self.settings.nesterov,
            fused=True if devices == {"cuda"} else None,
        )
