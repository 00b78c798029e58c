"""The judge of a model in training: zero-shot classification of ``data.evaluate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.build import Built

Judge = Callable[[], Mapping[str, float]]
"""Judges the model as it is: accuracy in percent by data set, and their mean ``accuracy``."""


def judge_of(built: Built) -> Judge | None:
    """Judges a model in memory; ``None`` where the config names no data to judge it on.

    Gives ``accuracy``, the plain mean in percent, and ``accuracy <data set>`` where there are
    several.
    """
    config = built.config
    if not config.data.evaluate:
        return None
    from engine.evaluate.predictor import Predictor
    from engine.evaluate.runner import run, score_runs

    datasets = [use.create() for use in config.data.evaluate]
    workers = config.train.workers if config.train else None

    def judge() -> Mapping[str, float]:
        predictor = Predictor(built)
        score = score_runs([run(predictor, dataset, workers=workers) for dataset in datasets])
        if score is None:
            return {}
        found = {"accuracy": score.accuracy}
        if len(score.datasets) > 1:
            found |= {f"accuracy {each.name}": each.accuracy for each in score.datasets}
        return found

    return judge
