"""The score that a callback watches."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engine.errors import ConfigError
from engine_plugins.callbacks.settings import ScoreSettings


def watched_score(name: str, settings: ScoreSettings, scores: Mapping[str, float]) -> float:
    """The score that the settings name, turned so that higher is better; NaN stays NaN.

    Args:
        name: of the plugin, for messages.
        settings: which score, and which of its values are better.
        scores: of an evaluation.

    Raises:
        ConfigError: there is no such score.
    """
    if settings.metric not in scores:
        known = ", ".join(f"`{known}`" for known in scores) or "none"
        raise ConfigError(
            f"train.callbacks: `{name}` watches the score `{settings.metric}`, which the"
            f" evaluation does not give; it gives {known}",
            hint="`metric:` names one of these",
        )
    score = scores[settings.metric]
    return score if settings.better == "higher" else -score


def is_better(score: float, best: float | None, by: float = 0.0) -> bool:
    """Whether a score is a number, and better than the best so far by more than ``by``."""
    return not math.isnan(score) and (best is None or score > best + by)
