"""Which models of timm can have their batch norms folded, and what is left. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.contracts.plan import Plan

_STATISTICS = re.compile(r"(?P<norm>.+)\.running_mean")
# In these families every batch norm comes right after a convolution, in the run and by name.
_FOLDABLE = re.compile(
    r"(?P<tensorflow>tf_)?efficientnet_(b|lite)\d|(test_)?resnet\d*|mobilenetv2_\d+d?"
)
_EPS, _TENSORFLOW_EPS = 1e-5, 1e-3


def norm_eps(arch: str) -> float | None:
    """The ``eps`` of a model's batch norms; ``None``: they cannot be folded.

    Args:
        arch: timm's name of the model, with or without a tag.
    """
    found = _FOLDABLE.fullmatch(arch.partition(".")[0])
    if found is None:
        return None
    return _TENSORFLOW_EPS if found["tensorflow"] else _EPS


def norms_in(names: Iterable[str]) -> set[str]:
    """The names of the batch norms among some tensors."""
    return {found["norm"] for found in map(_STATISTICS.fullmatch, names) if found}


def folded_plan(plan: Plan) -> Plan:
    """A plan of which every batch norm keeps its bias alone."""
    norms = norms_in(plan)
    return {
        name: tensor
        for name, tensor in plan.items()
        if name.rpartition(".")[0] not in norms or name.endswith(".bias")
    }
