"""The evaluator of a model in training: zero-shot classification of ``data.evaluate``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from engine.core.build import Built
from engine.errors import at_setting
from engine.train.chance import chance_scores

_log = logging.getLogger(__name__)

Evaluator = Callable[[], Mapping[str, float]]
"""Evaluates the model as it is: accuracy in percent by data set, and their mean ``accuracy``."""


def evaluator_of(built: Built) -> Evaluator | None:
    """What evaluates a model in memory; ``None`` where the config names no data for it.

    Gives ``accuracy``, the plain mean in percent, and ``accuracy <data set>`` where there are
    several; ``chance``, the accuracy of a model that guesses; and ``chance_high``, up to which
    an accuracy is not measurably better than that.
    """
    config = built.config
    if not config.data.evaluate:
        return None
    from engine.evaluate.predictor import Predictor
    from engine.evaluate.runner import run, score_runs

    datasets = []
    for number, use in enumerate(config.data.evaluate):
        with at_setting(f"data.evaluate.{number}"):
            datasets.append(use.create())
    workers = config.train.workers if config.train else None
    logged: set[str] = set()

    def evaluator() -> Mapping[str, float]:
        predictor = Predictor(built)
        # An untrained text tower may give all classes one vector; that is logged and not refused.
        runs = [run(predictor, each, workers=workers, refuse_alike=False) for each in datasets]
        for note in (note for each in runs for note in each.notes if note not in logged):
            logged.add(note)
            _log.warning("%s", note)
        score = score_runs(runs, intervals=False)
        if score is None:
            return {}
        guessed = chance_scores([(each.images, each.classes) for each in score.datasets])
        found = {"accuracy": score.accuracy, **guessed}
        if len(score.datasets) > 1:
            found |= {f"accuracy {each.name}": each.accuracy for each in score.datasets}
        return found

    return evaluator
