"""What ends a run with an error: numbers that are not finite, pictures that cannot be read.

Every process of a run comes to the same decision, so that none waits for another that has left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np
import torch

from engine.contracts.training import Rows
from engine.errors import TrainingError
from engine.train.step import StepOutput

if TYPE_CHECKING:
    from engine.train.loop import Trainer
    from engine.train.setup import StageRun

_SHOWN = 8
_GENTLER = (
    "a lower `lr`, `clip_gradients: 1.0`, or `precision: float32`; then train from the start, in"
    " another folder or with `--force`"
)


def check_finite(trainer: Trainer, stage: StageRun) -> None:
    """Raise where the model, or a loss's own parameter, is not finite in any of the processes.

    Raises:
        TrainingError: names the tensor, and the last good checkpoint.
    """
    found = trainer.watched.problems(stage.losses)
    if not trainer.processes.all_gather(bool(found)).any():
        return
    at = trainer.at
    what = "; ".join(found[:3]) or "another process has a number that is not finite"
    more = f"; and {len(found) - 3} more tensors" if len(found) > 3 else ""
    raise TrainingError(
        f"stage {at.stage + 1} (`{stage.plan.settings.name}`), after step {at.step}: the model is"
        f" not finite: {what}{more}. It is not saved; {_last(trainer)}",
        hint=_GENTLER,
    )


def diverged(trainer: Trainer, stage: StageRun, what: str, rows: Rows) -> NoReturn:
    """Save the state before a step that cannot be taken, and end the run.

    Args:
        trainer: the run.
        stage: the stage under way.
        what: is not finite, in words.
        rows: of the batch.

    Raises:
        TrainingError: always.
    """
    stage.statistics.restore()
    problems = trainer.watched.problems(stage.losses)
    if problems:
        state = f"The weights were not finite before it either ({problems[0]}); {_last(trainer)}"
    elif trainer.place.staged:  # an old run is not given up for one that does not start
        state = "The run that was to be replaced is untouched"
    else:
        trainer.save()
        state = f"The weights before this batch are saved; {_last(trainer)}"
    data, at = trainer.data, trainer.at
    shown = [data.dataset.record(int(data.rows[row])).id for row in rows[:_SHOWN]]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    raise TrainingError(
        f"stage {at.stage + 1}, epoch {at.epoch + 1}, batch {at.batch + 1} (step {at.step + 1}):"
        f" {what}; images {', '.join(shown)}{more}. {state}",
        hint=f"{_GENTLER} (`--resume` would come to the same batch)",
    )


def never_stepped(trainer: Trainer, stage: StageRun) -> NoReturn:
    """End a run whose stage went by without one step.

    Raises:
        TrainingError: always.
    """
    if not stage.meter.spent[1]:
        no_pictures(trainer, stage)
    raise TrainingError(
        f"stage {trainer.at.stage + 1} (`{stage.plan.settings.name}`): nothing was trained, because"
        f" the gradient was not finite in float16 in any of its {trainer.at.stage_step} steps;"
        f" {_last(trainer)}",
        hint=_GENTLER,
    )


def no_pictures(trainer: Trainer, stage: StageRun) -> NoReturn:
    """End a run that has no pictures to train on.

    Raises:
        TrainingError: always; gives examples with their reasons.
    """
    broken = stage.broken
    count = int(trainer.processes.all_gather(len(broken)).sum())
    examples = [f"{name} ({reason})" for name, reason in list(broken.items())[:3]]
    at = trainer.at
    raise TrainingError(
        f"stage {at.stage + 1} (`{stage.plan.settings.name}`), epoch {at.epoch + 1}: nothing was"
        f" trained, because no batch had two whole pictures: {count} of {len(trainer.data)} are"
        f" broken{', for example ' if examples else ''}{', '.join(examples)}; {_last(trainer)}",
        hint="mend the pictures of `data.train` (are they where the data set looks for them?), then"
        f" {_go_on(trainer)}",
    )


def not_finite(measured: StepOutput, norm: torch.Tensor) -> str:
    """What of a step is not finite, in words."""
    names = {name: float(value) for name, value in measured.losses.items()}
    bad = [name for name, value in names.items() if not np.isfinite(value)]
    return f"the loss `{bad[0]}` is {names[bad[0]]}" if bad else f"the gradient is {norm:.0f}"


def _go_on(trainer: Trainer) -> str:
    place = trainer.place
    if place.replaces and (place.staged or place.fresh):  # the old run is still there
        return "give the same command again"
    return "go on with `--resume`"


def _last(trainer: Trainer) -> str:
    steps = trainer.checkpoints.steps()
    if not steps:
        return "no checkpoint was written before"
    return f"the last good checkpoint is that of step {steps[-1]}"
