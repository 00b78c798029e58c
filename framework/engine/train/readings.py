"""The numbers of steps, read from the device together: between two readings no step waits for it.

A step's loss and the norm of its gradient stay on the device. Where a line of the history is due,
before a checkpoint, an evaluation and the end of a stage, all of them come in one copy, and each
step is checked then. On the CPU there is nothing to wait for, so each step is checked before it is
taken (see :mod:`engine.train.update`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.contracts.training import Rows
from engine.train.state import Position

_MAX_KEPT = 1000
"""Steps between two readings at most: what is not finite is found so many steps later at most."""


def reading_interval(device: torch.device, log_every: int, scaled: bool, callbacks: bool) -> int:
    """Steps between two readings; 1: each step is checked before it is taken.

    Args:
        device: of the model.
        log_every: steps between two lines of the history.
        scaled: the loss is scaled (float16), so a step may be left out.
        callbacks: the run has callbacks, which are called only for steps that were taken.
    """
    if device.type == "cpu" or (scaled and callbacks):
        return 1
    return min(log_every, _MAX_KEPT)


@dataclass(frozen=True)
class StepNumbers:
    """What a step found, read from the device.

    Attributes:
        at: the position before the step.
        rows: of the batch, for messages.
        loss: the weighted sum.
        losses: each loss by its name.
        norm: of the gradient.
        skipped: the gradient scaler left the step out.
        scale: of the gradient scaler, after the step; 1 where there is none.
    """

    at: Position
    rows: Rows
    loss: float
    losses: Mapping[str, float]
    norm: float
    skipped: bool = False
    scale: float = 1.0


class Readings:
    """The steps that are not read yet.

    Args:
        every: steps between two readings, see :func:`reading_interval`.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._steps: list[tuple[Position, Rows, tuple[str, ...], Tensor]] = []

    @property
    def at_once(self) -> bool:
        """Whether each step is checked before it is taken."""
        return self.every == 1

    @property
    def full(self) -> bool:
        """Whether it is time to read."""
        return len(self._steps) >= self.every

    def keep(
        self, at: Position, rows: Rows, losses: Mapping[str, Tensor], numbers: Sequence[Tensor]
    ) -> None:
        """Keep what a step found on the device.

        Args:
            at: the position before the step; not changed afterwards.
            rows: of the batch.
            losses: each loss by its name, no dimension.
            numbers: of no dimension: the loss, the norm and, where the loss is scaled, whether the
                step was left out, and the scale after it.
        """
        together = torch.stack([n.detach().float() for n in (*losses.values(), *numbers)])
        self._steps.append((at, rows, tuple(losses), together))

    def clear(self) -> None:
        """Forget what is not read yet."""
        self._steps.clear()

    def read(self, more: Mapping[str, Tensor]) -> tuple[list[StepNumbers], dict[str, float]]:
        """Read all steps that were kept, and further numbers, in one copy.

        Args:
            more: tensors of no dimension, by name.

        Returns:
            The steps in order, and the further numbers.
        """
        kept, self._steps = self._steps, []
        own = [torch.stack([t.detach().float() for t in more.values()])] if more else []
        parts = [*(numbers for *_, numbers in kept), *own]
        if not parts:
            return [], {}
        found = read_numbers(torch.cat(parts))
        steps, place = [], 0
        for at, rows, names, numbers in kept:
            mine = found[place : place + len(numbers)]
            place += len(numbers)
            loss, norm, *scaling = mine[len(names) :]
            steps.append(
                StepNumbers(
                    at, rows, loss, dict(zip(names, mine, strict=False)), norm,
                    skipped=bool(scaling and scaling[0]), scale=scaling[1] if scaling else 1.0,
                )
            )  # fmt: skip
        return steps, dict(zip(more, found[place:], strict=True))


def read_numbers(tensor: Tensor) -> list[float]:
    """[n] float32 as numbers: this waits for the device, once."""
    numbers: list[float] = tensor.tolist()
    return numbers
