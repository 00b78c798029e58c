"""The model of an entry: trained, or built, in the bench's own folder; a killed one goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.bench.code import imported_code, keep, model_record, uses_of, why_model_stale
from engine.bench.job import Job
from engine.bench.training_time import TRAINING_TIME, note_seconds, seconds_of
from engine.clusters import build_clustered
from engine.core.artifact import is_artifact
from engine.core.build import Built, save
from engine.core.config.schema import EngineConfig
from engine.core.config.train_schema import TrainSettings
from engine.core.files import locked, write_text
from engine.core.files import steps as lasting
from engine.core.progress import logged
from engine.train.evaluator import Evaluator, evaluator_of
from engine.train.folder import is_run
from engine.train.names import CACHE, CHECKPOINTS, MODEL, START
from engine.train.run import train

_log = logging.getLogger(__name__)

_WAIT = 120.0
"""Seconds: a process of a killed bench sees that soon, finishes its step and saves."""


_WAIT_FOR_TRAINING = 7 * 24 * 3600.0
"""Seconds: what is to be made to fit may still be in training, for another entry of the suite."""


def make_model(job: Job) -> Path:
    """The artifact of an entry's config, made where it is not there yet or its code changed.

    Raises:
        EngineError: whatever building or training says.
    """
    config, folder = for_bench(job.load_config(), job.threads, job.device), Path(job.run)
    with _alone(folder, _WAIT if job.fit is None else _WAIT_FOR_TRAINING):
        why = why_model_stale(folder, Path(job.code))
        if why and folder.exists():
            _log.info("made again: %s", why)
            lasting.remove_tree(folder)
        if is_artifact(folder / MODEL):
            return folder / MODEL
        _record(job, config)
        started, before = time.monotonic(), seconds_of(folder) or 0.0
        if config.train is None:
            _log.info("building")
            save(build_clustered(config, logged), folder / MODEL)
            _record(job, config)
            return folder / MODEL
        resume = is_run(folder)
        if not resume:  # a kill left less than a beginning, at most how long that took
            lasting.remove(folder / TRAINING_TIME)
            before = 0.0
        try:
            train(config, folder, resume=resume, evaluator=_evaluator(config), progress=logged)
        finally:
            if folder.is_dir():
                note_seconds(folder, before + time.monotonic() - started)
        for name in (START, CHECKPOINTS, CACHE):  # needed to go on, and it is over
            lasting.remove_tree(folder / name)
        _record(job, config)
    return folder / MODEL


def _record(job: Job, config: EngineConfig) -> None:
    """Note which code makes the model: before, for a run that is killed, and after.

    Plugins are imported for it, so that the first record names them too.
    """
    for use in uses_of([config.model, config.data, config.train]):
        use.target()
    name = keep(imported_code(job.packages), Path(job.code))
    write_text(model_record(Path(job.run)), name + "\n")


def for_bench(config: EngineConfig, threads: int, device: str | None = None) -> EngineConfig:
    """The config as the bench trains it: its own threads and device.

    It is evaluated on the suite's data afterwards, so evaluations during training are left out,
    unless the weights follow from them.
    """
    if config.train is None:
        return config
    update: dict[str, Any] = {"threads": threads, "workers": threads}
    update |= {} if device is None else {"device": device}
    update |= {} if _needs_evaluations(config.train) else {"evaluate_every": 0}
    return config.model_copy(update={"train": config.train.model_copy(update=update)})


def _needs_evaluations(train: TrainSettings) -> bool:
    """Whether the weights follow from evaluations: early stopping, ``keep: best``."""
    watching = any(use.target().needs_evaluation for use in train.callbacks)
    return train.keep == "best" or watching


def _evaluator(config: EngineConfig) -> Callable[[Built], Evaluator | None]:
    if config.train is not None and _needs_evaluations(config.train):
        return evaluator_of
    return lambda built: None


@contextmanager
def _alone(folder: Path, wait: float) -> Iterator[None]:
    """One process at a time in a folder: one of a killed bench may still be saving."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    with locked(path, f"{folder} is in use by another process", wait=wait):
        yield
