"""What optimizers promise."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.optimizer import NamedParameter
from engine.testing.common import call
from engine.testing.core import fault, rule
from engine.testing.subject import Subject

_FACTORY = "engine.contracts.optimizer.OptimizerFactory"
_CREATE = f"{_FACTORY}.create"


class OptimizerSubject(Subject):
    """An optimizer's factory."""

    contract = _FACTORY
    settings_base = "engine.contracts.training_settings.OptimizerSettings"

    def make(self) -> Any:
        """A new factory."""
        return self.target(self.settings)

    def parameters(self) -> list[NamedParameter]:
        """Those of two towers of three segments, two projections, a scale and a loss."""
        draw = torch.Generator().manual_seed(3)
        found = []
        for tower in ("vision", "text"):
            for depth, part in enumerate(("stem", "blocks.0", "head")):
                for name, shape in (("weight", (4, 3)), ("bias", (4,))):
                    parameter = nn.Parameter(torch.randn(shape, generator=draw))
                    found.append(NamedParameter(f"{tower}.{part}.{name}", parameter, depth, 3))
            parameter = nn.Parameter(torch.randn(3, 4, generator=draw))
            found.append(NamedParameter(f"{tower}_projection.weight", parameter))
        for name in ("logit_scale", "loss.sigmoid.bias"):
            found.append(NamedParameter(name, nn.Parameter(torch.randn((), generator=draw))))
        return found

    def create(self, parameters: list[NamedParameter]) -> torch.optim.Optimizer:
        """An optimizer over them."""
        found: torch.optim.Optimizer = call(
            self.make().create, parameters, expected="create(parameters) to give an optimizer"
        )
        if not isinstance(found, torch.optim.Optimizer):
            fault("a torch.optim.Optimizer", f"a {type(found).__name__}")
        return found


SUBJECT = OptimizerSubject


def _step(optimizer: torch.optim.Optimizer, parameters: list[NamedParameter], number: int) -> None:
    """One step along gradients that depend on the number of the step alone."""
    draw = torch.Generator().manual_seed(number)
    for each in parameters:
        each.parameter.grad = torch.randn(each.parameter.shape, generator=draw)
    call(optimizer.step, expected="step() to work without a closure")


def _values(parameters: list[NamedParameter]) -> list[Tensor]:
    return [each.parameter.detach().clone() for each in parameters]


@rule(
    contract=_CREATE,
    says="Every parameter is in exactly one group, and no other parameter is.",
    why="A parameter that is left out never trains, and nobody learns of it.",
    needs=("settings_valid",),
)
def groups(it: OptimizerSubject) -> None:
    """The groups hold every parameter once; also where one parameter alone trains."""
    for parameters in (it.parameters(), it.parameters()[:1]):
        optimizer = it.create(parameters)
        held = [id(p) for group in optimizer.param_groups for p in group["params"]]
        for each in parameters:
            if held.count(id(each.parameter)) != 1:
                fault(f"`{each.name}` in one group", f"it is in {held.count(id(each.parameter))}")
        if len(held) != len(parameters):
            fault(f"{len(parameters)} parameters", f"{len(held)} in the groups")


@rule(
    contract=_CREATE,
    says="Nothing is changed before the first step.",
    why="Training makes the optimizer of every stage once to check it, before anything trains.",
    needs=("groups",),
)
def creation_changes_nothing(it: OptimizerSubject) -> None:
    """The weights stay as they are when the optimizer is made."""
    parameters = it.parameters()
    before = _values(parameters)
    it.create(parameters)
    for each, old in zip(parameters, before, strict=True):
        if not torch.equal(each.parameter.detach(), old):
            fault(f"`{each.name}` as it was", "create() changed it")


@rule(
    contract=_CREATE,
    says="``step()`` is called without a closure.",
    why="Chunks, several processes and loss scaling compute the gradient before the step.",
    needs=("groups",),
)
def steps(it: OptimizerSubject) -> None:
    """Steps change the weights, to finite numbers."""
    parameters = it.parameters()
    optimizer = it.create(parameters)
    before = _values(parameters)
    for number in range(3):
        _step(optimizer, parameters, number)
    changed = [
        not torch.equal(each.parameter.detach(), old)
        for each, old in zip(parameters, before, strict=True)
    ]
    if not any(changed):
        fault("weights that change in three steps", "every one is as it was")
    for each in parameters:
        if not torch.isfinite(each.parameter).all():
            fault(f"finite numbers in `{each.name}`", "NaN or infinity after three steps")


@rule(
    contract=_FACTORY,
    says="Training multiplies each group's own learning rate by the factor of the schedule",
    why="An optimizer that keeps its rate elsewhere trains without warm-up and without decay.",
    needs=("steps",),
)
def rate(it: OptimizerSubject) -> None:
    """With a learning rate of 0 in every group the weights stand still."""
    parameters = it.parameters()
    optimizer = it.create(parameters)
    for group in optimizer.param_groups:
        group["lr"] = 0.0 * group["lr"]
    before = _values(parameters)
    _step(optimizer, parameters, 1)
    for each, old in zip(parameters, before, strict=True):
        if not torch.equal(each.parameter.detach(), old):
            fault("weights that stand still where `lr` of their group is 0",
                  f"`{each.name}` changed")  # fmt: skip


@rule(
    contract=_FACTORY,
    says="run that goes on takes the same steps bit for bit",
    why="A run that was broken off would end with another model than an undisturbed one.",
    needs=("steps", "creation_changes_nothing"),
)
def resumed(it: OptimizerSubject) -> None:
    """Its state, written to a checkpoint and read again, gives the same next steps."""
    from engine.train.moments import stage_optimizer
    from engine.train.state import pack, unpack

    straight, other = it.parameters(), it.parameters()
    first = stage_optimizer(it.make(), straight, it.plugin.name)
    for number in range(3):
        _step(first.optimizer, straight, number)
    plain, tensors = call(
        pack, first.state(), expected="a state of tensors, numbers, texts and lists of those"
    )
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    plain = json.loads(json.dumps(plain))
    with torch.no_grad():
        for each, target in zip(straight, other, strict=True):
            target.parameter.copy_(each.parameter)
    second = stage_optimizer(it.make(), other, it.plugin.name)
    call(second.resume, unpack(plain, kept), expected="its state to be taken up")
    for number in range(3, 6):
        _step(first.optimizer, straight, number)
        _step(second.optimizer, other, number)
    for each, target in zip(straight, other, strict=True):
        if not torch.equal(each.parameter.detach(), target.parameter.detach()):
            fault("the same weights after the run went on",
                  f"`{each.name}` differs: keep all that a step depends on in optimizer.state or"
                  " in the groups")  # fmt: skip


RULES = (groups, creation_changes_nothing, steps, rate, resumed)
