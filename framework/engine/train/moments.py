"""What an optimizer remembers, by the names of its parameters, to and from a checkpoint.

PyTorch's own ``state_dict`` numbers the parameters, and its ``load_state_dict`` casts every tensor
to the parameter's dtype, which would spoil an optimizer that keeps 8-bit moments. Here each tensor
keeps its dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.contracts.optimizer import NamedParameter, OptimizerFactory
from engine.errors import PluginError

_OWN = frozenset({"params", "lr", "initial_lr", "fused", "foreach", "capturable"})
"""Of a group: what training sets at each step, and what follows from this machine's device."""


@dataclass(frozen=True)
class StageOptimizer:
    """The optimizer of a stage.

    Attributes:
        optimizer: as the plugin made it; every group has its ``initial_lr``.
        names: of the parameters, in the optimizer's order.
        parameters: in the same order.
    """

    optimizer: torch.optim.Optimizer
    names: list[str]
    parameters: list[nn.Parameter]

    def set_rates(self, factor: float) -> None:
        """Set each group's learning rate to its own highest rate times the schedule's factor."""
        for group in self.optimizer.param_groups:
            rate = group["initial_lr"] * factor
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @property
    def rate(self) -> float:
        """The learning rate of the first group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Moments by parameter, and what else the groups hold; tensors are not copied."""
        names = {id(p): name for name, p in zip(self.names, self.parameters, strict=True)}
        state = self.optimizer.state
        return {
            "moments": {names[id(k)]: dict(v) for k, v in state.items() if isinstance(k, Tensor)},
            "shared": {k: v for k, v in state.items() if not isinstance(k, Tensor)},
            "groups": [
                {key: value for key, value in group.items() if key not in _OWN}
                for group in self.optimizer.param_groups
            ],
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave, on the devices of the parameters."""
        parameters = dict(zip(self.names, self.parameters, strict=True))
        groups = self.optimizer.param_groups
        group_of = {id(p): group for group in groups for p in group["params"]}
        for group, kept in zip(groups, state["groups"], strict=True):
            group.update(kept)
        for name, moments in state["moments"].items():
            parameter = parameters[name]
            group = group_of[id(parameter)]
            on_device = bool(group.get("fused") or group.get("capturable"))
            self.optimizer.state[parameter] = {
                # PyTorch keeps the count of steps on the CPU, unless its kernel reads it there.
                key: _like(
                    parameter,
                    _moved(value, parameter.device if key != "step" or on_device else None),
                )
                for key, value in moments.items()
            }
        self.optimizer.state.update(state["shared"])


def _like(parameter: Tensor, value: Any) -> Any:
    """A moment in the parameter's order of memory: fused kernels go over both alike."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _moved(value: Any, device: torch.device | None) -> Any:
    if isinstance(value, Tensor):
        return value if device is None else value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    return value


def stage_optimizer(
    factory: OptimizerFactory, parameters: Sequence[NamedParameter], name: str
) -> StageOptimizer:
    """Let a plugin make the optimizer of a stage, and check what it made.

    Args:
        factory: the plugin.
        parameters: those that train.
        name: of the plugin, for messages.

    Raises:
        ConfigError: from the plugin.
        PluginError: a parameter is missing or comes twice, or one is there that does not train.
    """
    optimizer = factory.create(parameters)
    given = {id(each.parameter): each.name for each in parameters}
    ordered = [p for group in optimizer.param_groups for p in group["params"]]
    strange = sum(id(p) not in given for p in ordered)
    missing = [name for key, name in given.items() if key not in {id(p) for p in ordered}]
    if strange or missing or len(ordered) != len(given):
        what = (
            f"leaves out `{missing[0]}`" if missing
            else "has a parameter that does not train" if strange
            else "has a parameter twice"
        )  # fmt: skip
        raise PluginError(
            f"the optimizer `{name}` {what}",
            hint="a fault of the plugin: every parameter belongs to exactly one of its groups",
        )
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", float(group["lr"]))
    return StageOptimizer(optimizer, [given[id(p)] for p in ordered], ordered)
