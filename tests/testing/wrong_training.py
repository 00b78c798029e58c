"""Right and wrong optimizers and callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts import Callback, NamedParameter, OptimizerFactory

# ---- optimizers ---------------------------------------------------------------------------------


class RightOptimizer(OptimizerFactory):
    """PyTorch's own, with momentum."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD([p.parameter for p in parameters], lr=0.1, momentum=0.9)


class SkipsBiases(OptimizerFactory):
    """What has one dimension never trains."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        kept = [p.parameter for p in parameters if p.parameter.dim() != 1]
        return torch.optim.SGD(kept, lr=0.1)


class ShrinksAtOnce(RightOptimizer):
    """The weights are changed before any step."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        with torch.no_grad():
            for each in parameters:
                each.parameter.mul_(0.5)
        return super().create(parameters)


class WantsAClosure(OptimizerFactory):
    """A step that computes the loss by itself."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        return torch.optim.LBFGS([p.parameter for p in parameters])


class _OwnRate(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= 0.1 * parameter.grad


class KeepsItsOwnRate(OptimizerFactory):
    """The schedule changes nothing."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        return _OwnRate([p.parameter for p in parameters], lr=0.1)


class _Hidden(torch.optim.SGD):
    seen = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.seen += 1
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter -= group["lr"] / self.seen * parameter.grad


class CountsInSecret(OptimizerFactory):
    """A step depends on what is not in its state."""

    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        return _Hidden([p.parameter for p in parameters], lr=0.1)


# ---- callbacks ----------------------------------------------------------------------------------


class RightCallback(Callback):
    """The mean of the first layer that trains."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.sum: Tensor | None = None
        self.count = 0

    @property
    def evaluated_weights(self) -> str | None:
        return "mean"

    @staticmethod
    def weight(model: nn.Module) -> nn.Parameter:
        return next(p for p in model.parameters() if p.requires_grad)

    def on_step(self, step: int, model: nn.Module, values: Mapping[str, float]) -> None:
        own = self.weight(model).detach().clone()
        self.sum = own if self.sum is None else self.sum + own
        self.count += 1

    @contextlib.contextmanager
    def evaluated_model(self, model: nn.Module) -> Iterator[None]:
        weight = self.weight(model)
        kept = weight.detach().clone()
        try:
            if self.sum is not None:
                weight.data.copy_(self.sum / self.count)
            yield
        finally:
            weight.data.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self.sum, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sum, self.count = state["sum"], state["count"]


class KeepsNoState(RightCallback):
    """It begins again where a run goes on."""

    def state_dict(self) -> dict[str, Any]:
        return {"sum": None, "count": 0}


class KeepsAnObject(RightCallback):
    """What no checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "me": object()}


class ClampsTheWeights(RightCallback):
    """It trains along."""

    def on_step(self, step: int, model: nn.Module, values: Mapping[str, float]) -> None:
        super().on_step(step, model, values)
        self.weight(model).data.clamp_(-0.1, 0.1)


class LeavesTheMean(RightCallback):
    """Training would go on from the mean."""

    @contextlib.contextmanager
    def evaluated_model(self, model: nn.Module) -> Iterator[None]:
        if self.sum is not None:
            self.weight(model).data.copy_(self.sum / self.count)
        yield


class SaysNothing(RightCallback):
    """Nobody learns which weights a model holds."""

    @property
    def evaluated_weights(self) -> str | None:
        return None


class WantsAccuracyAtOnce(RightCallback):
    """It fails at the first step."""

    def on_step(self, step: int, model: nn.Module, values: Mapping[str, float]) -> None:
        self.best = values["accuracy"]
