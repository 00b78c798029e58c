"""Stochastic weight averaging (Izmailov et al., 2018, arXiv:1803.05407), every step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts import Callback

from .settings import WeightMeanSettings


class WeightMean(Callback):
    """Keeps the sum of all weights in float64, so that no step is lost in rounding."""

    settings: WeightMeanSettings

    def __init__(self, settings: WeightMeanSettings) -> None:
        super().__init__(settings)
        self.sums: list[Tensor] = []
        self.count = 0

    @property
    def evaluated_weights(self) -> str:
        """See the contract."""
        return "mean of the weights"

    def on_step(self, step: int, model: nn.Module, values: Mapping[str, float]) -> None:
        """Add the weights."""
        if step <= self.settings.after:
            return
        own = [parameter.detach().double() for parameter in model.parameters()]
        self.sums = [a + b for a, b in zip(self.sums, own, strict=True)] if self.sums else own
        self.count += 1

    @contextlib.contextmanager
    def evaluated_model(self, model: nn.Module) -> Iterator[None]:
        """The model with the means; before the first one, as it is."""
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        try:
            if self.count:
                self._fill(model, [total / self.count for total in self.sums])
            yield
        finally:
            self._fill(model, kept)

    def state_dict(self) -> dict[str, Any]:
        """See the contract."""
        return {"sums": self.sums, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the contract."""
        self.sums, self.count = list(state["sums"]), state["count"]

    @staticmethod
    def _fill(model: nn.Module, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(value)
