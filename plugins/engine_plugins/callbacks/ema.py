"""The exponential moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.callback import Callback, StageInfo
from engine.errors import TrainingError
from engine_plugins.callbacks.settings import EmaSettings


class Ema(Callback):
    """Averages the weights over the steps (Polyak and Juditsky, 1992); the average is kept.

    After a step, average = decay * average + (1 - decay) * weights. Parameters that no stage has
    trained are not stored: their average is what they are. Buffers (BatchNorm's statistics) are not
    averaged, as in PyTorch's ``AveragedModel``.
    """

    settings: EmaSettings

    def __init__(self, settings: EmaSettings) -> None:
        super().__init__(settings)
        self._average: dict[str, Tensor] = {}
        self._steps = 0

    @property
    def evaluated_weights(self) -> str:
        """See the contract."""
        return f"exponential moving average (decay {self.settings.decay:g})"

    def on_stage(self, stage: StageInfo, model: nn.Module) -> None:
        """The average of a parameter begins with its value before it first trains."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name not in self._average:
                self._average[name] = parameter.detach().clone()

    def on_step(self, step: int, model: nn.Module, values: Mapping[str, float]) -> None:
        """Move the average towards the weights.

        A parameter that an earlier stage trained and this one does not stands still while its
        average still moves towards it.
        """
        decay = self.settings.decay
        if self.settings.warmup:
            decay = min(decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self._average:
                    self._on(parameter, name).lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def evaluated_model(self, model: nn.Module) -> Iterator[None]:
        """The model with the averages in place of its weights."""
        parameters = {n: p for n, p in model.named_parameters() if n in self._average}
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            self._copy(parameters, self._average)
            yield
        finally:
            self._copy(parameters, own)

    def state_dict(self) -> dict[str, Any]:
        """See the contract."""
        return {"average": dict(self._average), "steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the contract."""
        if not all(isinstance(tensor, Tensor) for tensor in state["average"].values()):
            raise TrainingError("the state of `ema` in the checkpoint is damaged")
        self._average = {name: tensor.clone() for name, tensor in state["average"].items()}
        self._steps = int(state["steps"])

    def _on(self, parameter: nn.Parameter, name: str) -> Tensor:
        """The average, on the device of its parameter."""
        self._average[name] = self._average[name].to(parameter.device)
        return self._average[name]

    @staticmethod
    def _copy(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(values[name])
