"""Optimizers: how the weights are changed once their gradients are known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from engine.contracts.training_settings import OptimizerSettings


@dataclass(frozen=True)
class NamedParameter:
    """A parameter that trains, and where it stands in the model.

    Attributes:
        name: as in the model's state dict, ``text.blocks.0.norm.weight``; parameters of a loss are
            named ``loss.<name of the loss>.<name of the parameter>``.
        parameter: the parameter itself; it requires a gradient.
        depth: number of the segment of its tower that it belongs to, from 0 (the stem) to
            ``depths - 1`` (the head); ``None`` outside the towers (projections, scale, losses).
        depths: number of segments of its tower; 0 outside the towers.
    """

    name: str
    parameter: nn.Parameter
    depth: int | None = None
    depths: int = 0


class OptimizerFactory(ABC):
    """Makes the optimizer of a stage from the parameters that train in it.

    Training multiplies each group's own learning rate by the factor of the schedule, so groups may
    have different learning rates; the rate at its highest is kept in the group as ``initial_lr``.
    Whatever the optimizer keeps in ``state`` and in its groups is written to checkpoints, so that a
    run that goes on takes the same steps bit for bit. It may hold tensors, numbers, texts,
    ``None``, and lists, tuples and mappings of those.
    """

    def __init__(self, settings: OptimizerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def create(self, parameters: Sequence[NamedParameter]) -> torch.optim.Optimizer:
        """Make the optimizer.

        Every parameter is in exactly one group, and no other parameter is. ``step()`` is called
        without a closure. Nothing is changed before the first step. The same parameters in the same
        order give the same groups.

        Args:
            parameters: those that train in the stage, at least one.

        Raises:
            ConfigError: a setting does not fit the parameters (a name pattern that matches none of
                them); raised before the first step of the run.
        """
