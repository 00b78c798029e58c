"""Evaluation: zero-shot classification, its scores, and the page that shows it.

``loading`` opens artifacts, and exports through the room ``exchange``.

Names are imported on first use: scoring files (``engine.evaluate.scores``) never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.evaluate.answers import Answer, ImageAnswers
    from engine.evaluate.features import FeatureCache
    from engine.evaluate.gallery import write_gallery
    from engine.evaluate.loading import load
    from engine.evaluate.predictor import Classifier, Predictor
    from engine.evaluate.runner import DatasetRun, run
    from engine.evaluate.scores import DatasetScore, Score, score

_HOME = {
    "Answer": "answers",
    "ImageAnswers": "answers",
    "Classifier": "predictor",
    "DatasetRun": "runner",
    "DatasetScore": "scores",
    "FeatureCache": "features",
    "Predictor": "predictor",
    "Score": "scores",
    "load": "loading",
    "run": "runner",
    "score": "scores",
    "write_gallery": "gallery",
}
__all__ = [
    "Answer",
    "Classifier",
    "DatasetRun",
    "DatasetScore",
    "FeatureCache",
    "ImageAnswers",
    "Predictor",
    "Score",
    "load",
    "run",
    "score",
    "write_gallery",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
