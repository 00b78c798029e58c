"""Stages: what trains and what is frozen, the factor of the schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from torch import nn

from engine.contracts.optimizer import NamedParameter
from engine.contracts.state import MixesRows, Segment
from engine.contracts.tower import Tower
from engine.core.config.train_schema import (
    ScheduleSettings,
    StageSettings,
    TowerTrains,
    Trains,
    chosen_blocks,
)
from engine.core.model import DualEncoder
from engine.errors import ConfigError, did_you_mean


def trained_segments(tower: Tower, trains: TowerTrains | bool, where: str) -> list[bool]:
    """Whether each segment of a tower trains, in order.

    Args:
        tower: the tower.
        trains: what the stage says of it: all, none, or its parts.
        where: the dotted path of that setting, for messages.

    Raises:
        ConfigError: it names blocks that the tower does not have.
    """
    segments = tower.segments()
    if isinstance(trains, bool):
        return [trains] * len(segments)
    blocks = [i for i, segment in enumerate(segments) if segment.name.startswith("block")]
    try:
        chosen = chosen_blocks(trains.blocks, len(blocks))
    except ValueError as error:
        raise ConfigError(f"{where}.blocks: {error}") from error
    first = blocks[0] if blocks else len(segments)
    head = bool(chosen) if trains.head is None else trains.head
    found = [trains.stem_trains if i < first else head for i in range(len(segments))]
    for number, place in enumerate(blocks):
        found[place] = number in chosen
    return found


def freeze(model: DualEncoder, trains: Trains, where: str) -> None:
    """Let exactly the parameters of a stage require gradients, and set module modes.

    Frozen segments are put in eval mode: their running statistics (BatchNorm) and dropout stand
    still, so that what they give is a pure function of the sample. Of a parameter that is named by
    itself in a frozen segment, only the module that holds it is put in training mode.

    Raises:
        ConfigError: nothing would train; blocks are named that do not exist, or parameters.
    """
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, setting in (("vision", trains.vision), ("text", trains.text)):
        tower: Tower = getattr(model, name)
        chosen = trained_segments(tower, setting, f"{where}.{name}")
        if not any(chosen):
            tower.eval()
        for segment, trained in zip(tower.segments(), chosen, strict=True):
            _set(segment, trained)
    for name in ("vision_projection", "text_projection"):
        part: nn.Module = getattr(model, name)
        part.requires_grad_(getattr(trains, name))
        part.train(getattr(trains, name))
    model.logit_scale.requires_grad_(trains.logit_scale)
    if model.logit_bias is not None:
        model.logit_bias.requires_grad_(trains.logit_bias)
    for pattern in trains.parameters:
        _train_named(model, pattern, f"{where}.parameters")
    logits = {"logit_scale", "logit_bias"}
    if not any(p.requires_grad for n, p in model.named_parameters() if n not in logits):
        raise ConfigError(
            f"{where}: the stage trains nothing",
            hint="for example `text: {blocks: last 3}`, or `text_projection: true` where the"
            " projection has weights",
        )


def _train_named(model: DualEncoder, pattern: str, where: str) -> None:
    """Let the parameters train whose names in the state dict fit a pattern.

    Raises:
        ConfigError: there is none.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    found = [name for name in parameters if fnmatchcase(name, pattern)]
    for name in found:
        parameters[name].requires_grad_(True)
        model.get_submodule(name.rpartition(".")[0]).training = True
    if found:
        return
    buffers = (n for n, _ in model.named_buffers() if fnmatchcase(n, pattern))
    if buffer := next(buffers, None):
        raise ConfigError(
            f"{where}: `{pattern}` fits no parameter; `{buffer}` is a buffer, which no optimizer"
            " trains"
        )
    shown = ", ".join(f"`{name}`" for name in list(parameters)[:: max(1, len(parameters) // 6)])
    raise ConfigError(
        f"{where}: `{pattern}` fits no parameter{did_you_mean(pattern, parameters)}",
        hint=f"names are those of the state dict, for example {shown}",
    )


def _set(segment: Segment, trained: bool) -> None:
    for parameter in segment.parameters():
        parameter.requires_grad_(trained)
    for part in segment.parts:
        if isinstance(part, nn.Module):
            part.train(trained)


def frozen_prefix(tower: Tower) -> int:
    """How many segments, from the stem on, hold nothing that trains."""
    segments = tower.segments()
    for place, segment in enumerate(segments):
        if any(parameter.requires_grad for parameter in segment.parameters()):
            return place
    return len(segments)


def mixing(part: nn.Module, start: int = 0) -> MixesRows:
    """How training mixes the rows of a batch in a tower or a projection, as its modules are set.

    BatchNorm layers are found by themselves; what else mixes rows says so (see
    :data:`engine.contracts.state.MixesRows`).

    Args:
        part: the tower or projection.
        start: of a tower: segments before this one are left out.
    """
    found: MixesRows = False
    for module in _modules(part, start):
        said = getattr(module, "mixes_rows", False) if module.training else False
        if said is True:
            return True
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        if said == "batch_norm" or batch_norm:
            found = "batch_norm"
    return found


def _modules(part: nn.Module, start: int) -> Iterator[nn.Module]:
    yield from (
        part.modules()
        if not start or not isinstance(part, Tower)
        else (
            module
            for segment in part.segments()[start:]
            for own in segment.parts
            if isinstance(own, nn.Module)
            for module in own.modules()
        )
    )


def mixes_rows(tower: Tower, start: int) -> bool:
    """Whether training mixes the rows of a batch from segment ``start`` on (BatchNorm does).

    Such rows are never split into groups nor merged where they are equal.
    """
    said = tower.mixes_rows is True and tower.training
    return said or bool(mixing(tower, start))


def named_parameters(model: DualEncoder, losses: Mapping[str, nn.Module]) -> list[NamedParameter]:
    """The parameters that train, those of the model first, then those of the losses.

    Args:
        model: with the ``requires_grad`` of the stage.
        losses: those of the stage, by name.
    """
    depths: dict[int, tuple[int, int]] = {}
    for tower in (model.vision, model.text):
        segments = tower.segments()
        for depth, segment in enumerate(segments):
            for parameter in segment.parameters():
                depths.setdefault(id(parameter), (depth, len(segments)))
    own = [(f"loss.{n}.{k}", p) for n, m in losses.items() for k, p in m.named_parameters()]
    return [
        NamedParameter(name, parameter, *depths.get(id(parameter), (None, 0)))
        for name, parameter in [*model.named_parameters(), *own]
        if parameter.requires_grad
    ]


def rate_at(step: int, steps: int, epochs: float, settings: ScheduleSettings) -> float:
    """The factor on the learning rate at a step, a pure function of the step.

    Args:
        step: of the stage, from 0.
        steps: of the whole stage.
        epochs: of the whole stage, for ``multistep``.
        settings: the schedule.
    """
    warmup = settings.warmup if settings.warmup >= 1 else settings.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "constant":
        return 1.0
    if settings.name == "multistep":
        epoch = epochs * step / steps
        return settings.factor ** sum(epoch >= at for at in settings.at)
    done = min(1.0, (step - warmup) / max(1.0, steps - warmup))
    left = 1 - done if settings.name == "linear" else (1 + math.cos(math.pi * done)) / 2
    return settings.final + (1 - settings.final) * left


def check_mixing(
    model: DualEncoder, stage: StageSettings, where: str, processes: int, *, compiled: bool
) -> None:
    """Refuse what would train another model than one process with whole batches does.

    Args:
        model: with the module modes of the stage.
        stage: its settings.
        where: its dotted path.
        processes: that train together.
        compiled: the towers' blocks are compiled.

    Raises:
        ConfigError: a batch that is mixed would be split, and nothing puts it together again.
    """
    if stage.batch_size < processes:
        raise ConfigError(
            f"{where}.batch_size: {stage.batch_size} rows are too few for {processes} processes",
            hint="a larger batch, or fewer processes",
        )
    split = stage.chunk_size is not None and stage.chunk_size < stage.batch_size
    for tower in ("vision", "text"):
        kind = mixing(getattr(model, tower))
        if not kind:
            continue
        freezing = f"freeze that tower: `trains: {{{tower}: false}}`"
        if split:
            raise ConfigError(
                f"{where}.chunk_size: the {tower} tower {_how(kind)}, so what it gives depends on"
                " the whole batch, and cannot be computed in chunks",
                hint=f"leave `chunk_size` out, or {freezing}",
            )
        if processes > 1 and kind is True:
            raise ConfigError(
                f"{where}: the {tower} tower {_how(kind)}, so {processes} processes, each with a"
                " part of the batch, would train another model than one process does",
                hint=f"train in one process, or {freezing}",
            )
        if processes > 1 and compiled:
            raise ConfigError(
                f"{where}: the {tower} tower {_how(kind)}; compiled, it cannot take its statistics"
                f" over {processes} processes",
                hint=f"leave `compile` out, train in one process, or {freezing}",
            )
    for projection in ("vision_projection", "text_projection"):
        kind = mixing(getattr(model, projection))
        if kind and processes > 1:
            raise ConfigError(
                f"{where}: the {projection.partition('_')[0]} projection {_how(kind)}, so"
                f" {processes} processes, each with a part of the batch, would train another model"
                " than one process does",
                hint=f"train in one process, or freeze it: `trains: {{{projection}: false}}`",
            )


def _how(kind: MixesRows) -> str:
    if kind is True:
        return "mixes the rows of a batch in training (`mixes_rows`)"
    return "trains BatchNorm, which mixes the rows of a batch"
