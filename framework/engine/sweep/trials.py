"""The trials of a sweep: combinations of values, each with its config and its exact bytes."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.config import dump_config, load_config
from engine.core.config.schema import EngineConfig
from engine.core.config.train_schema import CacheSettings
from engine.core.size import config_size
from engine.errors import ConfigError, EngineError
from engine.sweep.settings import Range, SweepSettings

_DIGITS = 4
"""Significant digits of a drawn number: more would say nothing."""


@dataclass(frozen=True)
class Trial:
    """One combination of values.

    Attributes:
        number: from 1, in the order in which they were made.
        values: by key.
        configs: of each seed; empty where it is refused.
        bytes: of the weight file; ``None`` where that cannot be known.
        refused: why it is not trained; empty where it is.
    """

    number: int
    values: Mapping[str, Any]
    configs: Mapping[int, EngineConfig]
    bytes: int | None = None
    refused: str = ""

    @property
    def name(self) -> str:
        """``007``."""
        return f"{self.number:03}"

    def key(self, seed: int) -> str:
        """A digest of everything that a training follows from."""
        config = self.configs[seed]
        assert config.train is not None
        free = {"loggers": (), "cache": CacheSettings()}  # no number follows from these
        config = config.model_copy(update={"train": config.train.model_copy(update=free)})
        return hashlib.sha256(dump_config(config).encode()).hexdigest()[:12]


def combinations(sweep: SweepSettings) -> Iterator[dict[str, Any]]:
    """The values of each trial: every combination in order, or so many drawn at random.

    None comes twice. The draws follow from ``sweep.draw`` alone, and the first ones stay the same
    when ``trials`` grows, so that a sweep can be made longer.
    """
    if sweep.trials is None:
        lists = [values for values in sweep.keys.values() if not isinstance(values, Range)]
        for chosen in itertools.product(*lists):
            yield dict(zip(sweep.keys, chosen, strict=True))
        return
    draw, seen, left = random.Random(sweep.draw), set(), sweep.trials
    for _ in range(50 * sweep.trials):  # few values may have fewer combinations than trials
        found = {key: _drawn(values, draw) for key, values in sweep.keys.items()}
        text = json.dumps(found, sort_keys=True, default=str)
        if text in seen:
            continue
        seen.add(text)
        yield found
        left -= 1
        if not left:
            return


def _drawn(values: tuple[Any, ...] | Range, draw: random.Random) -> Any:
    if not isinstance(values, Range):
        return draw.choice(values)
    low, high = float(values.low), float(values.high)
    if values.log:
        found = math.exp(draw.uniform(math.log(low), math.log(high)))
    else:
        found = draw.uniform(low, high)
    if values.whole:
        return min(max(round(found), int(low)), int(high))
    return min(max(float(f"{found:.{_DIGITS}g}"), low), high)


def make_trials(sweep: SweepSettings, cache: Path) -> list[Trial]:
    """The trials; those that cannot be trained or are over the limit say why.

    Args:
        sweep: the sweep.
        cache: folder of the activation cache that all trials share, unless the config names one.

    Raises:
        ConfigError: not one combination is a config that can be trained.
    """
    load_config(sweep.config, overrides_of(sweep, {}))  # its own faults are not those of a trial
    trials, first = [], None
    for number, values in enumerate(combinations(sweep), 1):
        try:
            trials.append(_trial(sweep, number, values, cache))
        except EngineError as error:
            first = first or error
            trials.append(Trial(number, values, {}, None, error.message))
    if first is not None and not any(trial.configs for trial in trials):
        if any(trial.bytes is not None for trial in trials):
            return trials
        raise first
    return trials


def overrides_of(sweep: SweepSettings, values: Mapping[str, Any]) -> list[str]:
    """``KEY=VALUE`` of a trial, for its config."""
    laid = {**sweep.set, **values}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in laid.items()]


def _trial(sweep: SweepSettings, number: int, values: Mapping[str, Any], cache: Path) -> Trial:
    overrides = overrides_of(sweep, values)
    configs = {
        seed: _prepared(load_config(sweep.config, [*overrides, f"seed={seed}"]), sweep, cache)
        for seed in sweep.seeds
    }
    report = config_size(next(iter(configs.values())), sweep.limit)
    if report.over:
        assert report.limit is not None
        why = f"{report.total:,} bytes of weights, {report.limit:,} are allowed"
        return Trial(number, values, {}, report.total, why)
    return Trial(number, values, configs, report.total)


def _prepared(config: EngineConfig, sweep: SweepSettings, cache: Path) -> EngineConfig:
    """The config of a trial: evaluated by the sweep, with its loggers and its cache.

    Raises:
        ConfigError: it cannot be trained, or there is nothing to evaluate on.
    """
    if config.train is None or config.data.train is None:
        raise ConfigError(f"{sweep.config} cannot be trained: it needs `train:` and `data.train:`")
    if not config.data.evaluate:
        raise ConfigError(
            f"{sweep.config}: `data.evaluate` names no data set, so trials cannot be compared"
        )
    store = config.train.cache
    update: dict[str, Any] = {"loggers": sweep.loggers}
    if store.folder is None:
        update["cache"] = store.model_copy(update={"folder": cache})
    train = config.train.model_copy(update=update)
    limits = config.limits
    if sweep.limit is not None:
        limits = limits.model_copy(update={"weights": sweep.limit})
    return config.model_copy(update={"train": train, "limits": limits})
