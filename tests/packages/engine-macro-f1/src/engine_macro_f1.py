"""Macro-F1: a metric for Engine, in one file."""

from __future__ import annotations

import numpy as np

from engine.contracts.hooks import Plugin, hookimpl
from engine.contracts.metric import Answers, Metric

ENGINE_API = "2.0"


@hookimpl
def engine_plugins() -> list[Plugin]:
    """What this package offers."""
    return [Plugin("metric", "macro_f1", "engine_macro_f1:MacroF1", summary="macro-averaged F1")]


class MacroF1(Metric):
    """Mean over the classes of the harmonic mean of precision and recall.

    Classes that neither a label nor an answer names do not count, as in scikit-learn.
    """

    name = "macro_f1"
    heading = "macro-F1"
    unit = "%"
    higher_is_better = True

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        count = len(answers.classes)
        given = answers.best[answers.best >= 0]
        hits = answers.labels[answers.labels == answers.best]
        right, labels, answered = (
            np.bincount(some, minlength=count) for some in (hits, answers.labels, given)
        )
        total = labels + answered
        named = total > 0
        return float(100 * (2 * right[named] / total[named]).mean())
