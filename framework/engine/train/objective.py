"""What a step makes small: the weighted sum of its losses over the rows of all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.contracts.state import State
from engine.contracts.training import Loss
from engine.core.model import DualEncoder
from engine.train.distribution import Processes, shared
from engine.train.entries import compute_loss, read_by


@dataclass
class Found:
    """What the losses of a batch are.

    Attributes:
        total: to be differentiated, no dimension: of a loss that comes apart it holds this
            process's part.
        losses: each loss by its name, not weighted; this process's part where it comes apart.
        whole: the entries of the whole batch.
    """

    total: Tensor
    losses: dict[str, Tensor]
    whole: State


class Objective:
    """The losses of a stage.

    Args:
        model: whose factor on cosines, and bias, the losses read.
        losses: by name.
        processes: this process among the others.
    """

    def __init__(
        self, model: DualEncoder, losses: Mapping[str, Loss], processes: Processes
    ) -> None:
        self._model, self.losses, self._processes = model, losses, processes
        several = processes.count > 1
        self.apart = frozenset(n for n, loss in losses.items() if several and loss.by_rows)
        self._read_apart = read_by(losses[name] for name in self.apart)

    def __call__(self, own: State, shares: Sequence[int]) -> Found:
        """Gather the rows of all processes, and compute the losses.

        Args:
            own: the entries of this process's rows.
            shares: rows of the batch in each process; empty in a single process.
        """
        processes = self._processes
        whole, parts = processes.gather(own, shares, self._read_apart)
        scalars = {"scale": self._model.logit_scale.float().exp()}
        if self._model.logit_bias is not None:
            scalars["bias"] = self._model.logit_bias.float()
        whole |= {name: shared(value, processes.count) for name, value in scalars.items()}
        found: dict[str, Tensor] = {}
        rows = slice(0)
        if self.apart:
            parts |= scalars
            start = sum(shares[: processes.rank])
            rows = slice(start, start + shares[processes.rank])
        for name, loss in self.losses.items():
            if name in self.apart:
                found[name] = compute_loss(name, loss, parts, rows)
            else:
                found[name] = compute_loss(name, loss, whole)
        return Found(self._sum(found), found, whole)

    def _sum(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(
            [loss.settings.weight * losses[name] for name, loss in self.losses.items()]
        ).sum()

    def parameters(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """What acts after the gathering: those whose gradient every process has whole; the rest.

        Each process has a part of the gradient at the model's factor and bias: of a loss that every
        process computes whole, an equal one (see :func:`engine.train.distribution.shared`).
        """
        whole = [p for n, m in self.losses.items() if n not in self.apart for p in m.parameters()]
        parts = [p for n, m in self.losses.items() if n in self.apart for p in m.parameters()]
        bias = [] if self._model.logit_bias is None else [self._model.logit_bias]
        return whole, [self._model.logit_scale, *bias, *parts]

    def to_sum(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """[losses]: what has to be summed over processes to be the losses; ``None``: nothing."""
        if not self.apart:
            return None
        first = self._processes.main
        return torch.stack(
            [
                value.detach() if name in self.apart or first else torch.zeros_like(value)
                for name, value in losses.items()
            ]
        )

    def summed(
        self, losses: Mapping[str, Tensor], sums: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum and each loss, of the sums of :meth:`to_sum` over processes."""
        found = dict(zip(losses, sums.unbind(), strict=True))
        return self._sum(found).detach(), found
