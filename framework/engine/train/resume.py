"""A run goes on from a checkpoint, where that is of the same config and of the same data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoints
from engine.train.data import TrainingRows
from engine.train.state import TrainingState

_FREE = ("loggers", "workers", "readers", "threads", "checkpoints", "keep", "save_minutes",
         "save_steps", "log_every", "cache", "device", "compile")  # fmt: skip
"""Of `train`: what changes no number of the model, so a run may go on with other values."""


def resume_signature(config: EngineConfig) -> dict[str, Any]:
    """What may not change between a checkpoint and the run that goes on from it."""
    plain = config.model_dump(mode="json", by_alias=True)
    for name in _FREE:
        plain["train"].pop(name)
    plain["data"].pop("prepared")
    if not plain["train"]["callbacks"]:  # a callback may end a stage, so evaluations count there
        plain["train"].pop("evaluate_every")
    return {name: plain[name] for name in ("name", "model", "data", "clusters", "train", "seed")}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put the tensors of a checkpoint into a model, in place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def changed_weights(model: nn.Module, trained: Collection[str]) -> dict[str, Tensor]:
    """What training changes of a model: the parameters that any stage trained, and all buffers."""
    parameters = {name for name, _ in model.named_parameters()}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name in trained or name not in parameters
    }


def restore(
    checkpoints: Checkpoints,
    model: nn.Module,
    signature: Mapping[str, Any],
    data: TrainingRows,
    scaler: torch.amp.GradScaler,
    note: Callable[[str], None],
) -> TrainingState | None:
    """Take up the last whole checkpoint; ``None`` where there is none yet.

    Args:
        checkpoints: of the run.
        model: gets its weights.
        signature: of this run's config.
        data: of this run.
        scaler: gets its state.
        note: receives what a user should know.

    Raises:
        TrainingError: it is of another config, or of other data; or none is whole.
    """
    checkpoint = checkpoints.last(note)
    if checkpoint is None:
        return None
    state = TrainingState.from_checkpoint(checkpoint)
    check_same_run(state, signature, data, checkpoints.folder)
    put_weights(model, state.weights)
    if state.scaler:
        scaler.load_state_dict(state.scaler)
    if state.threads != torch.get_num_threads():
        note(
            f"the run had {state.threads} threads of arithmetic and now has"
            f" {torch.get_num_threads()}: the last bits of its numbers may differ"
        )
    return state


def difference(then: Any, now: Any, path: str = "") -> str | None:
    """The dotted path of the first setting that differs, or ``None``."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in [*then, *(k for k in now if k not in then)]:
            found = difference(then.get(key), now.get(key), f"{path}.{key}" if path else key)
            if found:
                return found
        return None
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        found_in = (
            difference(a, b, f"{path}.{i}") for i, (a, b) in enumerate(zip(then, now, strict=True))
        )
        return next((found for found in found_in if found), None)
    return None if then == now else path


def check_same_run(
    state: TrainingState, signature: Mapping[str, Any], data: TrainingRows, folder: Path
) -> None:
    """Refuse a checkpoint of another config, or of other data.

    Args:
        state: from the checkpoint.
        signature: of this run's config.
        data: of this run.
        folder: of the checkpoints, for messages.

    Raises:
        TrainingError: names the first difference.
    """
    different = difference(state.config, signature)
    if different:
        raise TrainingError(
            f"the checkpoints in {folder} are of another config: `{different}` differs",
            hint="go on with the config that the run was started with, or train elsewhere",
        )
    dataset = data.dataset
    changed = data.contents.change(state.data, lambda row: dataset.record(row).id)
    if changed:
        raise TrainingError(
            f"the training data (`data.train`, {dataset.name}) are not those of the checkpoint of"
            f" step {state.at.step}: {changed}",
            hint="put the data back as they were to go on; or train on the new ones from the"
            " start, in another folder or with `--force`",
        )
