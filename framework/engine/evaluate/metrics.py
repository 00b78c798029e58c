"""The installed metrics, and their values on one set of answers. Nothing here imports torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np

from engine.contracts.metric import Answers, Declaration, Metric, RetrievalRanks, Value
from engine.core.plugin_api import DISTRIBUTION
from engine.core.registry import Registry, default_registry
from engine.errors import EngineError

_log = logging.getLogger(__name__)

Metrics = Mapping[str, Metric]
"""Metrics by name, in the order in which tables show them."""


@cache
def installed_metrics() -> Metrics:
    """Every metric of the installed packages, see :func:`metrics_of`."""
    return metrics_of(default_registry())


def metrics_of(registry: Registry) -> Metrics:
    """Every metric of a registry, by name, the more important ones first.

    A metric that does not import, or cannot be made, is left out with a warning. Where two packages
    offer metrics of one name, each goes by its qualified name, ``distribution:name``; Engine's own
    keeps the plain one.
    """
    shared = {each[0].plugin.name for each in registry.clashes() if each[0].plugin.kind == "metric"}
    found: dict[str, Metric] = {}
    for each in registry.all("metric"):
        plugin, owner = each.plugin, each.distribution
        name = plugin.name
        if name in shared and owner.name != DISTRIBUTION:
            name = f"{owner.name}:{name}"
        try:
            found[name] = plugin.load()(plugin.load_settings()())
        except Exception as error:  # a third party's code may raise anything
            _log.warning("metric `%s` of %s cannot be used: %s", name, owner, _words(error))
    ordered = sorted(found.items(), key=lambda item: (-item[1].priority, item[0]))
    return MappingProxyType(dict(ordered))


def declarations_of(metrics: Metrics) -> tuple[Declaration, ...]:
    """What the metrics say of themselves, in order, each under the name by which it is found."""
    return tuple(metric.declaration(name) for name, metric in metrics.items())


def measure(answers: Answers, metrics: Metrics, *, intervals: bool = True) -> dict[str, Value]:
    """Every metric that applies to some answers.

    A metric that raises, or gives what is not a finite number, is left out with a warning: a third
    party's error does not take the other numbers away.

    Args:
        answers: to one data set.
        metrics: to compute.
        intervals: also compute the 95 % intervals; without them it is faster.
    """
    labelled = answers.labelled()
    found = {}
    for name, metric in metrics.items():
        if not metric.applies(answers):
            continue
        try:
            value = _value(metric, labelled if "labels" in metric.needs else answers, intervals)
        except Exception as error:  # a third party's code may raise anything
            _log.warning("metric `%s` failed and is left out: %s", name, _words(error))
            continue
        if value is not None:
            found[name] = value
    return found


def _value(metric: Metric, answers: Answers, intervals: bool) -> Value | None:
    computed = metric.compute(answers)
    if computed is None:
        return None
    value = float(computed)
    if not math.isfinite(value):
        raise ValueError(f"compute() gave {value}, which is not a finite number")
    interval = metric.interval(answers, value) if intervals else None
    if interval is None:
        return Value(value)
    low, high = map(float, interval)
    if not low <= value <= high:
        raise ValueError(f"the interval {low} .. {high} does not hold the value {value}")
    return Value(value, low, high)


def combine_values(datasets: Sequence[Mapping[str, Value]], metrics: Metrics) -> dict[str, Value]:
    """The values over data sets, each metric by its own rule.

    Args:
        datasets: the values of each data set.
        metrics: the metrics to combine.
    """
    found = {}
    for name, metric in metrics.items():
        values = [each.get(name) for each in datasets]
        if not any(values):
            continue
        try:
            value = metric.combine(values)
        except Exception as error:  # a third party's code may raise anything
            _log.warning("metric `%s` cannot be combined: %s", name, _words(error))
            continue
        if value is not None:
            found[name] = value
    return found


def answers_of(
    classes: Sequence[str],
    labels: Sequence[int],
    top: Sequence[Sequence[int]],
    probabilities: Sequence[Sequence[float]] | None = None,
    retrieval: RetrievalRanks | None = None,
) -> Answers:
    """Answers from one list an image, best first; an empty list is an image without an answer.

    Args:
        classes: names of the classes.
        labels: one an image, -1 for none.
        top: class indices of each image.
        probabilities: of these classes, ``None`` where they are not known.
        retrieval: where retrieval put the right candidates.
    """
    width = max(map(len, top), default=0) or 1
    ranked = np.full((len(top), width), -1, np.int64)
    chances = None if probabilities is None else np.full(ranked.shape, np.nan)
    for row, indices in enumerate(top):
        ranked[row, : len(indices)] = indices
        if chances is not None and probabilities is not None:
            chances[row, : len(indices)] = probabilities[row][: len(indices)]
    return Answers(tuple(classes), np.array(labels, np.int64), ranked, chances, retrieval)


def _words(error: Exception) -> str:
    if isinstance(error, EngineError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())
