"""``engine train --dry-run``: what a run would take, from a bounded measurement.

Each stage takes some steps of its first epoch, and then the same batches again: what the activation
cache holds by then makes later epochs faster. Everything is written to a temporary folder, which is
removed.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine.contracts.training import Rows
from engine.core.config.schema import EngineConfig
from engine.core.progress import Progress, silent
from engine.core.size import config_size
from engine.errors import ConfigError, DataError
from engine.train.checkpoint import Checkpoints
from engine.train.faults import Faults
from engine.train.health import Watched
from engine.train.loop import Trainer
from engine.train.parts import resolve
from engine.train.plan import StagePlan
from engine.train.run import start_of
from engine.train.state import Position

BUDGET = 60.0
"""Seconds of measuring, of all stages together."""


@dataclass(frozen=True)
class StageEstimate:
    """What a stage would take.

    Attributes:
        name: of the stage.
        steps: in all.
        first_epoch_steps: of them, in the first epoch.
        measured_steps: that were taken for this estimate, each once more for later epochs.
        first_seconds: of a step of the first epoch.
        later_seconds: of a step of later epochs; as ``first_seconds`` where there are none.
        samples_per_second: over the whole stage.
        seconds: of the whole stage.
    """

    name: str
    steps: int
    first_epoch_steps: int
    measured_steps: int
    first_seconds: float
    later_seconds: float
    samples_per_second: float
    seconds: float


@dataclass
class Estimate:
    """What a run would take.

    Attributes:
        rows: that have a text.
        device: where it computes.
        start_seconds: to read the data and to build the model, measured.
        stages: of the config, in order.
        seconds: of the start and of all stages; without evaluations and checkpoints.
        memory_bytes: peak of the process.
        device_memory_bytes: peak that PyTorch took of a GPU; 0 on the CPU.
        artifact_bytes: of the weights that come out, exact.
        checkpoint_bytes: of the largest checkpoint that was written while measuring.
        cache_bytes: of the activation cache and of decoded pictures, at most its budget.
        disk_bytes: of the run's folder at its largest.
        measured_seconds: how long measuring took.
    """

    rows: int
    device: str
    start_seconds: float
    stages: list[StageEstimate] = field(default_factory=list)
    seconds: float = 0.0
    memory_bytes: int = 0
    device_memory_bytes: int = 0
    artifact_bytes: int = 0
    checkpoint_bytes: int = 0
    cache_bytes: int = 0
    disk_bytes: int = 0
    measured_seconds: float = 0.0


def estimate(
    config: EngineConfig, *, budget: float = BUDGET, progress: Progress = silent
) -> Estimate:
    """Measure what training of a config would take. Nothing is left behind.

    Args:
        config: with ``train`` and ``data.train``.
        budget: seconds of measuring; a step that was begun is finished.
        progress: receives what is being done.

    Raises:
        ConfigError: the config cannot be trained, or has teachers, which are not measured.
    """
    started = time.monotonic()
    if config.train is None:
        resolve(config, Path())  # says what is missing
    assert config.train is not None
    if config.train.teachers:
        raise ConfigError(
            f"{config.name}: a run with teachers is not measured: they read all data before the"
            " first step",
            hint="leave `train.teachers` and the losses that read them out to measure the rest",
        )
    cache = config.train.cache.model_copy(update={"folder": None})
    train = config.train.model_copy(update={"cache": cache})
    config = config.model_copy(update={"train": train})
    with tempfile.TemporaryDirectory(prefix="engine-dry-run-") as temporary:
        folder = Path(temporary)
        built, data = start_of(config, progress)
        trainer = Trainer(built, data, folder, parts=resolve(config, folder))
        if trainer.processes.count > 1:
            raise DataError("`--dry-run` measures one process; leave torchrun out")
        found = Estimate(len(data), str(trainer.device), time.monotonic() - started)
        _measure(trainer, found, budget, progress)
    found.artifact_bytes = config_size(config).total
    largest = found.checkpoint_bytes * (train.checkpoints + 1)
    found.disk_bytes = found.artifact_bytes + largest + found.cache_bytes + _start_bytes(trainer)
    found.seconds = found.start_seconds + sum(stage.seconds for stage in found.stages)
    found.memory_bytes = _peak()
    found.measured_seconds = time.monotonic() - started
    return found


def _measure(trainer: Trainer, found: Estimate, budget: float, progress: Progress) -> None:
    plans = trainer.prepare()
    watched = Watched(trainer.model)
    trainer.faults = Faults(
        trainer.data, trainer.processes, trainer.checkpoints, trainer.place, watched
    )
    try:
        for number, plan in enumerate(plans):
            progress(f"measuring stage {number + 1} of {len(plans)}, {plan.settings.name}")
            trainer.state.at = Position(stage=number)
            found.stages.append(_stage(trainer, plan, found, budget / len(plans)))
            found.checkpoint_bytes = max(found.checkpoint_bytes, _checkpoint(trainer))
            trainer.stage.close()  # type: ignore[union-attr]
            trainer.stage = None
    finally:
        trainer._end()
    if trainer.device.type == "cuda":
        found.device_memory_bytes = torch.cuda.max_memory_allocated(trainer.device)


def _stage(trainer: Trainer, plan: StagePlan, found: Estimate, budget: float) -> StageEstimate:
    stage = trainer._open_stage(plan, trainer.state.at.stage)
    order = list(stage.inputs.order(0))
    before = _bytes_in(trainer.parts.inputs.cache.folder)
    first = _steps(trainer, order, budget / 2, len(order))
    rows = first[1] * plan.settings.batch_size
    new = _bytes_in(trainer.parts.inputs.cache.folder) - before
    whole = new * len(trainer.data) // max(1, min(rows, len(trainer.data)))
    whole += 0 if found.cache_bytes else before  # an empty cache takes some room as well
    limit = trainer.parts.inputs.cache.budget
    found.cache_bytes = min(limit, found.cache_bytes + whole)
    later = _steps(trainer, order, budget / 2, first[1]) if plan.steps > len(order) else first
    cold = min(plan.steps, len(order))
    seconds = cold * first[0] + (plan.steps - cold) * later[0]
    return StageEstimate(
        name=plan.settings.name,
        steps=plan.steps,
        first_epoch_steps=cold,
        measured_steps=first[1],
        first_seconds=first[0],
        later_seconds=later[0],
        samples_per_second=plan.steps * plan.settings.batch_size / max(seconds, 1e-9),
        seconds=seconds,
    )


def _steps(trainer: Trainer, order: Sequence[Rows], budget: float, most: int) -> tuple[float, int]:
    """Take steps; seconds of one (the first warms up and counts only alone), and how many."""
    stage, seconds = trainer.stage, list[float]()
    assert stage is not None
    started = now = time.monotonic()
    trainer.state.at.batch = 0
    batches = stage.inputs.batches(order, 0)
    for drawn in batches:
        trainer._step(stage, drawn)
        trainer.readings.clear()
        trainer.state.at.batch += 1
        _wait(trainer.device)
        before, now = now, time.monotonic()
        seconds.append(now - before)
        if now - started >= budget or len(seconds) >= most:
            break
    batches.close()  # type: ignore[attr-defined]
    counted = seconds[1:] or seconds
    return sum(counted) / max(1, len(counted)), len(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _checkpoint(trainer: Trainer) -> int:
    """Bytes of a checkpoint of this moment; it is written and removed."""
    with tempfile.TemporaryDirectory(dir=trainer.folder) as folder:
        place = Checkpoints(Path(folder) / "checkpoints", trainer.parts.pace.checkpoints)
        plain, tensors = trainer.snapshot().to_checkpoint()
        place.save(1, plain, tensors, None)
        return _bytes_in(Path(folder))


def _start_bytes(trainer: Trainer) -> int:
    """Bytes of the model before training, in float32."""
    tensors = trainer.model.state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
