"""What a checkpoint holds, and how a run takes it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoint
from engine.train.health import Health

if TYPE_CHECKING:
    from engine.train.loop import Trainer
    from engine.train.setup import StageRun

_FREE = ("loggers", "workers", "threads", "keep", "save_minutes", "save_steps", "log_every",
         "cache", "device", "compile", "evaluate_every")  # fmt: skip


def resume_signature(config: EngineConfig) -> dict[str, Any]:
    """What may not change between a checkpoint and the run that goes on from it."""
    plain = config.model_dump(mode="json", by_alias=True)
    for name in _FREE:
        plain["train"].pop(name)
    return {name: plain[name] for name in ("name", "model", "data", "clusters", "train", "seed")}


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


def snapshot(trainer: Trainer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The state and tensors of a run at this moment."""
    at, stage = trainer.at, trainer.stage
    tensors = {
        f"model.{name}": tensor
        for name, tensor in trainer.model.state_dict().items()
        if name in trainer.trained or name not in dict(trainer.model.named_parameters())
    }
    states = dict(trainer.loss_states)
    if stage is not None:
        states |= {name: loss.state_dict() for name, loss in stage.losses.items()}
        tensors |= _moments(stage)
    for loss, values in states.items():
        tensors |= {f"loss.{loss}.{name}": tensor for name, tensor in values.items()}
    state = {
        "position": [at.stage, at.epoch, at.batch, at.stage_step, at.step],
        "best": trainer.best,
        "best_step": trainer.best_step,
        "finished_stages": trainer.finished_stages,
        "trained": sorted(trainer.trained),
        "scaler": trainer.scaler.state_dict(),
        "config": resume_signature(trainer.config),
        "data": trainer.data.contents.summary(),
        "threads": torch.get_num_threads(),
        "meter": None if stage is None else stage.meter.state(),
        "scores": {} if stage is None else stage.scores,
        "health": [0, 0] if stage is None else [stage.health.taken, stage.health.skipped],
    }
    return state, tensors


def _moments(stage: StageRun) -> dict[str, Tensor]:
    found = {}
    for name, parameter in zip(stage.names, stage.ordered, strict=True):
        for key, value in stage.optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{name}.{key}"] = torch.as_tensor(value)
    return found


def restore_model(trainer: Trainer, checkpoint: Checkpoint) -> None:
    """Take up weights and position.

    Raises:
        TrainingError: the checkpoint is of another config, or of other data; names the first
            difference.
    """
    from engine.train.loop import Position

    state = checkpoint.state
    different = difference(state["config"], resume_signature(trainer.config))
    if different:
        raise TrainingError(
            f"the checkpoints in {trainer.checkpoints.folder} are of another config: `{different}`"
            " differs",
            hint="go on with the config that the run was started with, or train elsewhere",
        )
    dataset = trainer.data.dataset
    changed = trainer.data.contents.change(state.get("data"), lambda row: dataset.record(row).id)
    if changed:
        raise TrainingError(
            f"the training data (`data.train`, {dataset.name}) are not those of the checkpoint of"
            f" step {checkpoint.step}: {changed}",
            hint="put the data back as they were to go on; or train on the new ones from the"
            " start, in another folder or with `--force`",
        )
    own = dict(trainer.model.state_dict())
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("model."):
            with torch.no_grad():
                own[name.removeprefix("model.")].copy_(tensor)
    trainer.at = Position(*state["position"])
    trainer.best, trainer.best_step = float(state["best"]), state["best_step"]
    trainer.finished_stages, trainer.trained = list(state["finished_stages"]), set(state["trained"])
    if state["scaler"]:
        trainer.scaler.load_state_dict(state["scaler"])
    losses: dict[str, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("loss."):
            _, loss, rest = name.split(".", 2)
            losses.setdefault(loss, {})[rest] = tensor
    trainer.loss_states = losses
    if state["threads"] != torch.get_num_threads():
        trainer.note(
            f"the run had {state['threads']} threads of arithmetic and now has"
            f" {torch.get_num_threads()}: the last bits of its numbers may differ"
        )


def restore_optimizer(trainer: Trainer, stage: StageRun, checkpoint: Checkpoint) -> None:
    """Take up the moments of the stage that was under way, its scores and what was spent on it."""
    if checkpoint.state["meter"] is not None:
        stage.meter.resume(checkpoint.state["meter"])
    stage.scores = dict(checkpoint.state["scores"])
    stage.health = Health(*checkpoint.state["health"])
    for name, parameter in zip(stage.names, stage.ordered, strict=True):
        prefix = f"optimizer.{name}."
        moments = {
            key.removeprefix(prefix): tensor
            for key, tensor in checkpoint.tensors.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        if moments:
            step = moments.pop("step")
            kept = {key: tensor.to(parameter.device) for key, tensor in moments.items()}
            where = parameter.device if parameter.device.type == "cuda" else "cpu"
            stage.optimizer.state[parameter] = {"step": step.to(where), **kept}
