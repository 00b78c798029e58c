"""Adam for large tables of which a batch uses few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

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
        grad = parameter.grad
        assert grad is not None
        if grad.is_sparse:
            _rows(parameter, grad.coalesce(), state, group)
        else:
            _all(parameter, grad, state, group)


def _all(parameter: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """PyTorch's own Adam; on the CPU it goes over the numbers once."""
    beta1, beta2 = group["betas"]
    adam(
        [parameter], [grad], [state["exp_avg"]], [state["exp_avg_sq"]], [], [state["step"]],
        foreach=False, fused=parameter.is_cpu, amsgrad=False, beta1=beta1, beta2=beta2,
        lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"], maximize=False,
    )  # fmt: skip


def _rows(parameter: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """The same of the rows that a gradient names, which is coalesced."""
    rows = grad.indices()[0]
    tables = (parameter, state["exp_avg"], state["exp_avg_sq"])
    own, *moments = (functional.embedding(rows, table) for table in tables)
    part = {"step": state["step"], "exp_avg": moments[0], "exp_avg_sq": moments[1]}
    _all(own, grad.values(), part, group)
    for table, values in zip(tables, (own, *moments), strict=True):
        if table.is_cpu and table.dtype in (torch.float32, torch.float64):
            table.numpy()[rows.numpy()] = values.numpy()  # half the time of index_copy_
        else:
            table.index_copy_(0, rows, values)
