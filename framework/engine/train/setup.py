"""A stage made ready: losses, optimizer, inputs, the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from engine.contracts.training import Loss
from engine.train.batch_norm import SharedStatistics
from engine.train.entries import read_by
from engine.train.health import Health, Statistics
from engine.train.inputs import Sources, StageInputs
from engine.train.meter import MEASURED, Meter
from engine.train.moments import StageOptimizer, stage_optimizer
from engine.train.objective import Objective
from engine.train.plan import StagePlan, make_losses
from engine.train.reducer import Reduced, Reducer, in_order
from engine.train.stages import mixing, named_parameters
from engine.train.state import StageState
from engine.train.step import Step, StepOutput

_LEFT = 0.97
"""A loss above this share of its value at chance, on every line, has not left it."""


class StageRun:
    """Everything of the stage under way.

    Args:
        sources: of its batches.
        autocast: gives the context of a forward pass.
        plan: the stage.
        number: of the stage, from 0.
        learned: the state dicts of the losses of stages before, by name.

    Attributes:
        inputs: makes its batches.
        losses: by name, unique within the stage.
        optimizer: with the names of its parameters.
        objective: what is made small.
        reducer: sums gradients over processes.
        meter: what is measured.
        health: the steps that were taken.
        statistics: BatchNorm's, before the step under way.
        scores: the last evaluation.
        scored_at: its step; 0 before the first.
        stopped: a callback asked to end the stage.
    """

    def __init__(
        self,
        sources: Sources,
        autocast: Callable[[], torch.autocast],
        plan: StagePlan,
        number: int,
        learned: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        self.plan, self.number, self._rows = plan, number, len(sources.data)
        self.scores: dict[str, float] = {}
        self.scored_at = 0
        self.stopped = False
        model = sources.model
        self.losses = _learned_losses(plan, learned, sources.device)
        use = plan.settings.optimizer
        named = named_parameters(model, self.losses)
        self.optimizer: StageOptimizer = stage_optimizer(use.create(), named, use.name)
        self.inputs = StageInputs(sources, plan, number, read_by(self.losses.values()))
        # BatchNorm's statistics are taken over all processes, where there are both.
        mixed = mixing(model.vision) or mixing(model.text)
        self.objective = Objective(model, self.losses, sources.processes)
        chunked = plan.settings.chunk_size is not None
        self.reducer = Reducer(sources.processes, self._reduced(chunked=chunked), overlap=not mixed)
        self.step = Step(
            model,
            self.inputs.images,
            self.inputs.texts,
            self.objective,
            autocast_context=autocast,
            together=SharedStatistics if mixed and sources.processes.count > 1 else nullcontext,
            chunked=chunked,
            measured=MEASURED,
            teacher_forcing=plan.settings.teacher_forcing,
        )
        self.meter, self.health = Meter(sources.device), Health()
        self.statistics = Statistics(model)

    def _reduced(self, *, chunked: bool) -> Reduced:
        """The parameters by what several processes do with their gradients."""
        every = self.optimizer.parameters
        same, parts = ({id(p) for p in some} for some in self.objective.parameters())
        towers = [
            (name, p)
            for name, p in zip(self.optimizer.names, every, strict=True)
            if id(p) not in same | parts
        ]
        names, before = [name for name, _ in towers], [p for _, p in towers]
        return Reduced(
            in_order(names, before, chunked=chunked),
            [p for p in every if id(p) in same],
            [p for p in every if id(p) in parts],
        )

    def reduce(self, measured: StepOutput) -> StepOutput:
        """Make the gradients and the losses of a step those of all processes."""
        objective = self.objective
        sums = self.reducer.finish(objective.to_sum(measured.losses))
        if sums is None:
            return measured
        total, losses = objective.summed(measured.losses, sums)
        return StepOutput(total, losses, measured.batch)

    def close(self) -> None:
        """Stop reading, let go of the parameters."""
        self.inputs.close()
        self.reducer.close()

    def state(self) -> StageState:
        """What a checkpoint holds of the stage, beside the losses."""
        return StageState(
            optimizer=self.optimizer.state(),
            meter=self.meter.state(),
            scores=self.scores,
            scored_at=self.scored_at,
            taken=self.health.taken,
            skipped=self.health.skipped,
            stopped=self.stopped,
        )

    def resume(self, state: StageState) -> None:
        """Take up what :meth:`state` gave."""
        self.optimizer.resume(state.optimizer)
        self.meter.resume(state.meter)
        self.scores, self.scored_at = dict(state.scores), state.scored_at
        self.health = Health(state.taken, state.skipped)
        self.stopped = state.stopped

    def describe(self) -> str:
        """What trains, in words."""
        parameters = sum(p.numel() for p in self.optimizer.parameters)
        words = f"{parameters:,} parameters train, {self.plan.steps:,} steps"
        return "; ".join([words, *self.inputs.describe_prefixes()])

    def summary(self, epochs: int, steps: int) -> dict[str, Any]:
        """The stage's line in history and manifest."""
        settings = self.plan.settings
        seconds, rows = self.meter.spent
        return {
            "name": settings.name,
            "trains": settings.trains.model_dump(mode="json"),
            "epochs": epochs,
            "steps": steps,
            "rows": self._rows,
            "batch_size": settings.batch_size,
            "optimizer": settings.optimizer.name,
            "lr": max(g["initial_lr"] for g in self.optimizer.optimizer.param_groups),
            "losses": [use.name for use in settings.losses],
            "sampler": settings.sampler.name,
            "parameters": sum(p.numel() for p in self.optimizer.parameters),
            "seconds": round(seconds, 3),
            "samples_per_second": round(rows / max(seconds, 1e-9), 1),
            "loss": self.meter.loss if math.isfinite(self.meter.loss) else None,
            "scores": self.scores,
            "scored_at": self.scored_at,
            "broken_images": len(self.inputs.broken),
            "warnings": self.warnings(),
        }

    def warnings(self) -> list[str]:
        """What of the losses says that nothing was learned, in sentences."""
        found, settings = [], self.plan.settings
        for name, loss in self.losses.items():
            chance, lowest = loss.chance(settings.batch_size), self.meter.lowest.get(name)
            if chance is not None and lowest is not None and lowest > _LEFT * chance:
                found.append(
                    f"stage `{settings.name}`: the loss `{name}` never left {chance:.3f}, its value"
                    f" for a model that has learned nothing (lowest: {lowest:.3f}); try another"
                    " learning rate, a longer warm-up, or look at the data"
                )
        return found


def _learned_losses(
    plan: StagePlan, learned: Mapping[str, Mapping[str, Tensor]], device: torch.device
) -> dict[str, Loss]:
    """The losses of a stage, with what they learned in the stages before."""
    losses = make_losses(plan.settings)
    for name, loss in losses.items():
        loss.to(device)
        carried = learned.get(name)
        if carried and carried.keys() == loss.state_dict().keys():
            loss.load_state_dict(carried)
    return losses
