"""What is done with the gradient of a batch: checked, clipped, and taken as a step."""

from __future__ import annotations

import numpy as np
import torch

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
    optimizer, parameters = stage.optimizer.optimizer, stage.optimizer.parameters
    scaler.unscale_(optimizer)
    norm = gradient_norm(parameters)
    finite = bool(torch.isfinite(measured.loss)) and (
        scaler.is_enabled() or bool(torch.isfinite(norm))
    )
    if not finite:
        return not_finite(measured, norm)
    largest = stage.plan.settings.clip_gradients
    if largest is not None:
        clip_gradients(parameters, largest, norm)
    stage.optimizer.set_rates(factor)
    before = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    scale = scaler.get_scale()
    stage.health.count(skipped=scale < before)
    return stage.health.describe() if stage.health.diverged(scale) else None


def not_finite(measured: StepOutput, norm: torch.Tensor) -> str:
    """What of a step is not finite, in words."""
    names = {name: float(value) for name, value in measured.losses.items()}
    bad = [name for name, value in names.items() if not np.isfinite(value)]
    return f"the loss `{bad[0]}` is {names[bad[0]]}" if bad else f"the gradient is {norm:.0f}"
