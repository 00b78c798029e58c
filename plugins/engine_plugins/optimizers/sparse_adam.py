"""Adam for large tables of which a batch uses few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.contracts.optimizer import NamedParameter, OptimizerFactory
from engine_plugins.optimizers.groups import parameter_groups
from engine_plugins.optimizers.settings import SparseAdamSettings


class SparseAdam(OptimizerFactory):
    """Adam (Kingma and Ba, 2015) whose step touches the rows alone that a sparse gradient names.

    Dense gradients are taken as Adam takes them. Of a sparse one, moments and weights of the other
    rows stay as they are (torch.optim.SparseAdam, which takes no dense ones); a table of 65,536
    rows of which a batch uses 2,000 then costs a thirtieth.
    """

    settings: SparseAdamSettings

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """See the contract."""
        settings = self.settings
        return RowAdam(parameter_groups(parameters, settings), settings.betas, settings.eps)


class RowAdam(torch.optim.Optimizer):
    """See :class:`SparseAdam`.

    Args:
        groups: each with ``params``, ``lr`` and ``weight_decay``, which is added to the gradient.
        betas: of the two moments.
        eps: added to the divisor.
    """

    def __init__(
        self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step; a closure is not called."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        grad, count = parameter.grad, float(state["step"])
        assert grad is not None
        rows: Any = ...
        if grad.is_sparse:
            grad = grad.coalesce()
            rows, grad = grad.indices()[0], grad.values()
        first, second = group["betas"]
        weights = parameter[rows]
        if group["weight_decay"]:
            grad = grad.add(weights, alpha=group["weight_decay"])
        mean = state["exp_avg"][rows].lerp(grad, 1 - first)
        square = state["exp_avg_sq"][rows].mul(second).addcmul_(grad, grad, value=1 - second)
        divisor = (square / (1 - second**count)).sqrt_().add_(group["eps"])
        change = mean / divisor * (group["lr"] / (1 - first**count))
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = mean, square
        parameter[rows] = weights - change
