"""What is done with the gradient of a batch: checked, clipped, and taken as a step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from engine.train.readings import StepNumbers
from engine.train.setup import StageRun
from engine.train.step import StepOutput, clip_gradients, gradient_norm


def update(
    stage: StageRun, measured: StepOutput, scaler: torch.amp.GradScaler, factor: float
) -> str | None:
    """Change the weights by their gradients, unless something is not finite.

    Args:
        stage: the stage under way; its health counts the step.
        measured: of the batch.
        scaler: scales the loss of float16, and leaves out steps whose gradient overflowed.
        factor: of the schedule, on every group's learning rate.

    Returns:
        What is not finite, in words, where the run cannot go on; ``None`` otherwise.
    """
    scaler.unscale_(stage.optimizer.optimizer)
    norm = gradient_norm(stage.optimizer.parameters)
    finite = bool(torch.isfinite(measured.loss)) and (
        scaler.is_enabled() or bool(torch.isfinite(norm))
    )
    if not finite:
        losses = {name: float(value) for name, value in measured.losses.items()}
        return not_finite(losses, float(norm))
    before = scaler.get_scale()
    _take(stage, norm, scaler, factor)
    scale = scaler.get_scale()
    stage.health.count(skipped=scale < before)
    return stage.health.describe() if stage.health.diverged(scale) else None


def update_unread(
    stage: StageRun, measured: StepOutput, scaler: torch.amp.GradScaler, factor: float
) -> list[Tensor]:
    """Change the weights by their gradients; whether all was finite is read and checked later.

    Args:
        stage: the stage under way.
        measured: of the batch.
        scaler: scales the loss of float16, and leaves out steps whose gradient overflowed.
        factor: of the schedule, on every group's learning rate.

    Returns:
        What :meth:`engine.train.readings.Readings.keep` takes. Nothing here waits for the device,
        unless a gradient is sparse, or the loss is scaled and the optimizer is not a fused one.
    """
    scaler.unscale_(stage.optimizer.optimizer)
    norm = gradient_norm(stage.optimizer.parameters)
    if not scaler.is_enabled():
        _take(stage, norm, scaler, factor)
        return [measured.loss, norm]
    one = torch.ones((), device=measured.loss.device)
    before = scaler.scale(one)
    _take(stage, norm, scaler, factor)
    scale = scaler.scale(one)
    return [measured.loss, norm, scale < before, scale]


def _take(stage: StageRun, norm: Tensor, scaler: torch.amp.GradScaler, factor: float) -> None:
    largest = stage.plan.settings.clip_gradients
    if largest is not None:
        clip_gradients(stage.optimizer.parameters, largest, norm)
    stage.optimizer.set_rates(factor)
    scaler.step(stage.optimizer.optimizer)
    scaler.update()


def check_step(stage: StageRun, step: StepNumbers, *, scaled: bool) -> str | None:
    """The check of :func:`update` on a step that was taken before it was read.

    Args:
        stage: its health counts the step.
        step: what was read.
        scaled: the loss is scaled, so a gradient may overflow.
    """
    if not (math.isfinite(step.loss) and (scaled or math.isfinite(step.norm))):
        return not_finite(step.losses, step.norm)
    stage.health.count(skipped=step.skipped)
    return stage.health.describe() if stage.health.diverged(step.scale) else None


def not_finite(losses: Mapping[str, float], norm: float) -> str:
    """What of a step is not finite, in words."""
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    return f"the loss `{bad[0]}` is {losses[bad[0]]}" if bad else f"the gradient is {norm:.0f}"
