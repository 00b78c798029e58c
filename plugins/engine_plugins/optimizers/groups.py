"""Parameter groups: who gets which learning rate and weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from engine.contracts.optimizer import NamedParameter
from engine.errors import ConfigError
from engine_plugins.optimizers.settings import GroupedSettings, GroupSettings

_SHOWN = 4


def parameter_groups(
    parameters: Sequence[NamedParameter], settings: GroupedSettings
) -> list[dict[str, Any]]:
    """The groups of an optimizer, each with ``params``, ``lr`` and ``weight_decay``.

    Parameters of one learning rate and one weight decay share a group. Tensors of fewer than two
    dimensions (norms, biases, the scale) get no weight decay, unless a group's setting gives them
    one: decay is there to keep products of matrices small, and pulls a norm's factor away from 1
    for nothing. Matrices come first, each in the model's order.

    Raises:
        ConfigError: a pattern matches no parameter that trains.
    """
    matched = [_match(each.name, settings.groups) for each in parameters]
    for number, group in enumerate(settings.groups):
        if not any(fnmatchcase(each.name, group.match) for each in parameters):
            shown = ", ".join(f"`{each.name}`" for each in parameters[:_SHOWN])
            more = f" and {len(parameters) - _SHOWN} more" if len(parameters) > _SHOWN else ""
            raise ConfigError(
                f"optimizer.groups.{number}.match: `{group.match}` matches no parameter that trains"
                f" in this stage; these do: {shown}{more}",
                hint="mend the pattern, or leave the group out of this stage",
            )
    found: dict[tuple[float, float], list[Any]] = {}
    for matrices in (True, False):
        for each, own in zip(parameters, matched, strict=True):
            if (each.parameter.dim() >= 2) is not matrices:
                continue
            lr, decay = settings.lr, settings.weight_decay if matrices else 0.0
            if own is not None:
                lr = lr if own.lr is None else own.lr
                decay = decay if own.weight_decay is None else own.weight_decay
            found.setdefault((lr, decay), []).append(each.parameter)
    return [
        {"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in found.items()
    ]


def _match(name: str, groups: Sequence[GroupSettings]) -> GroupSettings | None:
    """The first group whose pattern matches."""
    return next((group for group in groups if fnmatchcase(name, group.match)), None)
