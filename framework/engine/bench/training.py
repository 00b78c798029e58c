"""The model of an entry: trained, or built, in the bench's own folder; a killed one goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.artifact import is_artifact
from engine.bench.job import Job
from engine.build import build, save
from engine.config.schema import EngineConfig
from engine.files import locked, write_text
from engine.files import steps as lasting
from engine.train.folder import MODEL, is_run
from engine.train.run import train

STORY = "bench.json"
"""Beside a run's model: how long its training took here, over all of its beginnings."""

_WAIT = 120.0
"""Seconds: a process of a killed bench sees that soon, finishes its step and saves."""


def make_model(job: Job) -> Path:
    """The artifact of an entry, made where it is not there yet.

    Raises:
        EngineError: whatever building or training says.
    """
    if job.source == "artifact":
        return job.model
    config, folder = for_bench(job.load_config(), job.threads), Path(job.run)
    with _alone(folder):
        if is_artifact(folder / MODEL):
            return folder / MODEL
        started, before = time.monotonic(), seconds_of(folder) or 0.0
        if config.train is None:
            print("building", flush=True)
            save(build(config, print), folder / MODEL)
            return folder / MODEL
        resume = is_run(folder)
        if not resume:  # a kill left less than a beginning, at most how long that took
            lasting.remove(folder / STORY)
            before = 0.0
        try:
            train(config, folder, resume=resume, judge=lambda built: None, say=print)
        finally:
            if folder.is_dir():
                told = {"train_seconds": before + time.monotonic() - started}
                write_text(folder / STORY, json.dumps(told) + "\n")
        for name in ("start", "checkpoints", "cache"):  # needed to go on, and it is over
            lasting.remove_tree(folder / name)
    return folder / MODEL


def for_bench(config: EngineConfig, threads: int) -> EngineConfig:
    """The config as the bench trains it: its own threads, judged at the end alone, no loggers."""
    if config.train is None:
        return config
    update = {"threads": threads, "workers": threads, "loggers": (), "evaluate_every": 0}
    return config.model_copy(update={"train": config.train.model_copy(update=update)})


def seconds_of(folder: Path) -> float | None:
    """Seconds that the training in a folder took; ``None`` where it is not known."""
    try:
        told = json.loads((folder / STORY).read_text(encoding="utf-8"))
        return float(told["train_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time in a folder: one of a killed bench may still be saving."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    with locked(path, f"{folder} is in use by another process", wait=_WAIT):
        yield
