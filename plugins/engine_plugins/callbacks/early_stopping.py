"""A stage ends where its score does not get better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from engine.contracts.callback import Callback, StageInfo
from engine_plugins.callbacks.scores import is_better, watched_score
from engine_plugins.callbacks.settings import EarlyStoppingSettings


class EarlyStopping(Callback):
    """Ends a stage after ``patience`` evaluations in a row without a better score.

    Every stage counts for itself. It chooses no weights: the model has those of the last step,
    unless the config says ``train.keep: best``.
    """

    settings: EarlyStoppingSettings
    needs_evaluation = True

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        super().__init__(settings)
        self._best: float | None = None
        self._worse = 0

    def on_stage(self, stage: StageInfo, model: nn.Module) -> None:
        """Begin to count."""
        self._best, self._worse = None, 0

    def on_evaluate(self, step: int, scores: Mapping[str, float], model: nn.Module) -> bool:
        """See the contract."""
        score = watched_score("early_stopping", self.settings, scores)
        if is_better(score, self._best, self.settings.min_delta):
            self._best, self._worse = score, 0
        else:
            self._worse += 1
        return self._worse >= self.settings.patience

    def state_dict(self) -> dict[str, Any]:
        """See the contract."""
        return {"best": self._best, "worse": self._worse}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See the contract."""
        self._best, self._worse = state["best"], int(state["worse"])
