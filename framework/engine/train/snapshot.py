"""Everything that a checkpoint holds, collected from the parts of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from engine.train.callbacks import Callbacks
from engine.train.data import TrainingRows
from engine.train.resume import changed_weights
from engine.train.setup import StageRun
from engine.train.state import TrainingState


def snapshot(
    state: TrainingState,
    stage: StageRun | None,
    *,
    model: nn.Module,
    scaler: torch.amp.GradScaler,
    callbacks: Callbacks,
    signature: Mapping[str, Any],
    data: TrainingRows,
) -> TrainingState:
    """A run at this moment. Tensors are not copied.

    Args:
        state: what the run itself keeps.
        stage: the stage under way, if any.
        model: that is trained.
        scaler: of the loss.
        callbacks: of the run.
        signature: of its config.
        data: the training data.
    """
    losses = dict(state.losses)
    if stage is not None:
        losses |= {name: loss.state_dict() for name, loss in stage.losses.items()}
    return replace(
        state,
        weights=changed_weights(model, state.trained),
        losses=losses,
        scaler=scaler.state_dict(),
        callbacks=callbacks.states(),
        stage=None if stage is None else stage.state(),
        config=dict(signature),
        data=data.contents.summary(),
        threads=torch.get_num_threads(),
    )
