"""The weights of the best evaluation become the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from engine.contracts.callback import Callback
from engine_plugins.callbacks.scores import is_better, watched_score
from engine_plugins.callbacks.settings import KeepBestSettings


class KeepBest(Callback):
    """Says which step has the best score; of equal ones, the first.

    Over the whole run: a stage that makes the model worse does not change what is kept. The weights
    come from the checkpoint of that step, so the callback holds none itself.
    """

    settings: KeepBestSettings
    needs_evaluation = True

    def __init__(self, settings: KeepBestSettings) -> None:
        super().__init__(settings)
        self._best: float | None = None
        self._step: int | None = None

    def on_evaluate(self, step: int, scores: Mapping[str, float], model: nn.Module) -> None:
        """See the contract."""
        score = watched_score("keep_best", self.settings, scores)
        if is_better(score, self._best):
            self._best, self._step = score, step

    def best_step(self) -> int | None:
        """See the contract."""
        return self._step

    def state_dict(self) -> dict[str, Any]:
        """See the contract."""
        return {"best": self._best, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the contract."""
        self._best, self._step = state["best"], state["step"]
