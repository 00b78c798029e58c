"""A stage ends where its score does not get better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from engine.contracts.callback import Callback, StageInfo
from engine.errors import ConfigError
from engine_plugins.callbacks.settings import EarlyStoppingSettings


class EarlyStopping(Callback):
    """Ends a stage after ``patience`` evaluations in a row without a better score.

    Every stage counts for itself. The weights at the end are those of the last step, not those of
    the best score; the best checkpoint stays in the run's folder.
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
        name = self.settings.metric
        if name not in scores:
            known = ", ".join(f"`{known}`" for known in scores) or "none"
            raise ConfigError(
                f"train.callbacks: `early_stopping` watches the score `{name}`, which the"
                f" evaluation does not give; it gives {known}",
                hint="`metric:` names one of these",
            )
        score = scores[name] if self.settings.better == "higher" else -scores[name]
        if not math.isnan(score) and (
            self._best is None or score > self._best + self.settings.min_delta
        ):
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
