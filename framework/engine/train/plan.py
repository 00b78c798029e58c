"""The stages of a run and their lengths; what cannot be trained is refused here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine.contracts.training import Epoch, Loss, Sampler
from engine.core.config.train_schema import StageSettings
from engine.core.model import DualEncoder
from engine.data.seeds import seed_of
from engine.errors import DataError, at_setting
from engine.train.activations import check_trains
from engine.train.data import TrainingRows
from engine.train.entries import available_entries, check_loss, sort_of
from engine.train.moments import stage_optimizer
from engine.train.parts import PlanParts
from engine.train.stages import check_mixing, freeze, named_parameters

Until = Callable[[int], int]
"""From the number of all steps of a run to the step after which it pauses."""


@dataclass(frozen=True)
class StagePlan:
    """A stage and its length.

    Attributes:
        settings: the stage.
        where: its dotted path in the config.
        sampler: chooses its batches.
        epochs: passes over the data, the last one perhaps not whole.
        steps: batches in all.
    """

    settings: StageSettings
    where: str
    sampler: Sampler
    epochs: int
    steps: int


def epoch_of(
    settings: StageSettings, data: TrainingRows, seed: int, stage: int, epoch: int, count: int
) -> Epoch:
    """What a sampler is given of an epoch."""
    return Epoch(
        index=epoch,
        count=count,
        rows=len(data),
        batch_size=settings.batch_size,
        seed=seed_of(seed, "order", stage, epoch),
        clusters=data.clusters,
        shards=data.shards,
    )


def plan_stages(
    parts: PlanParts, data: TrainingRows, model: DualEncoder, processes: int = 1
) -> list[StagePlan]:
    """Every stage with its length; all that can be refused is refused here, before any step.

    Args:
        parts: of the config.
        data: the training data.
        model: on its device; module modes and ``requires_grad`` are those of the last stage after.
        processes: that train together.

    Raises:
        ConfigError: a stage trains nothing, names blocks that are not there, splits batches whose
            rows are mixed, or has a loss that needs what the model or the data do not give.
        DataError: fewer rows than a batch.
    """
    plans = []
    given = available_entries(model, data, mean=parts.mean) | parts.from_teachers
    for number in range(len(parts.stages)):
        where = f"train.stages.{number}"
        with at_setting(where):
            plans.append(_plan_stage(parts, data, model, given, number, processes))
    return plans


def _plan_stage(
    parts: PlanParts,
    data: TrainingRows,
    model: DualEncoder,
    given: frozenset[str],
    number: int,
    processes: int,
) -> StagePlan:
    """One stage, see :func:`plan_stages`; ``given`` is what losses may read."""
    settings, where = parts.stages[number], f"train.stages.{number}"
    freeze(model, settings.trains, where)
    vision = any(p.requires_grad for p in model.vision.parameters())
    check_trains(sort_of(data.dataset), data.dataset.name, where, vision=vision)
    check_mixing(model, settings, where, processes, compiled=parts.compile)
    for use in settings.losses:
        check_loss(use, given, where)
    _check_optimizer(model, settings)
    sampler: Sampler = settings.sampler.create()
    known = settings.epochs or 1
    batches = sampler.batches(epoch_of(settings, data, parts.seed, number, 0, known))
    if not batches:
        raise DataError(f"{where}: the sampler `{settings.sampler.name}` gives no batch")
    steps = settings.steps or known * len(batches)
    epochs = settings.epochs or math.ceil(steps / len(batches))
    return StagePlan(settings, where, sampler, epochs, steps)


def _check_optimizer(model: DualEncoder, settings: StageSettings) -> None:
    """Make the optimizer of a stage for once; the random state stays as it is.

    Raises:
        ConfigError: a setting of it does not fit the parameters that train.
        PluginError: the plugin does not keep its contract.
    """
    with torch.random.fork_rng(devices=[]):
        losses = make_losses(settings)
        use = settings.optimizer
        stage_optimizer(use.create(), named_parameters(model, losses), use.name)


def make_losses(settings: StageSettings) -> dict[str, Loss]:
    """The losses of a stage by name, unique within it."""
    found: dict[str, Loss] = {}
    for use in settings.losses:
        name = use.name if use.name not in found else f"{use.name}_{len(found)}"
        found[name] = use.create()
    return found
