"""What each input of a calibration set is for when a tower is trained, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.compress.calibration import cosine_loss, nearest

Part = Literal["test", "choice", "training"]
"""What an input of the calibration set is for: it measures the result, or it decides between
results, or it is trained on. Each does one of these alone, so that the measure is not chosen."""


def part_of(count: int, part: Part) -> Tensor:
    """[count] bool: which of some inputs are for a part, a fifth for each of the first two."""
    place = torch.arange(count) % 5
    if part == "training":
        return place > 1
    return place == ("test", "choice").index(part)


@dataclass(frozen=True)
class TestedTower:
    """A tower's embeddings, and which of them measure.

    Attributes:
        name: ``text`` or ``vision``.
        found: [N, J] float32 by the present weights, rows of length 1.
        wanted: in the same way by the original.
        rows: int64 [T], the inputs that measure.
    """

    name: str
    found: Tensor
    wanted: Tensor
    rows: Tensor

    @property
    def cosine(self) -> float:
        """Mean cosine of both embeddings of an input that measures."""
        return 1 - cosine_loss(self.wanted[self.rows], self.found[self.rows])

    @property
    def kept(self) -> float:
        """Share of the inputs that measure whose nearest other input stayed the same one."""
        same = nearest(self.found) == nearest(self.wanted)
        return float(same[self.rows].double().mean())

    def answers(self, text: TestedTower) -> float:
        """Share of the pictures that measure whose nearest text stayed the same one."""
        before = self.wanted[self.rows] @ text.wanted.T
        after = self.found[self.rows] @ text.found.T
        return float((before.argmax(dim=1) == after.argmax(dim=1)).double().mean())
