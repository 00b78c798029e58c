"""Modules that a fixed graph cannot hold, or that lie when they are exported: [B, L] -> [B, 3]."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Part(nn.Module):
    """The mean of a table's rows over the ids, and something done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 3)

    def forward(self, ids: Tensor) -> tuple[Tensor, ...]:
        return (self.change(self.table(ids).mean(dim=1), ids),)

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        return x


class Lies(Part):
    """Off by more than is allowed, once exported."""

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + 0.01 if torch.compiler.is_exporting() else x


class BranchesAlike(Part):
    """A question about the data whose answer spares work and changes nothing."""

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        return x if bool((ids < 50).all()) else x + 0 * self.table(ids).sum(dim=1)


class Branches(Part):
    """A question whose answer matters: the example's is kept for all."""

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + 1 if bool((ids == 7).all()) else x


class Shapes(Part):
    """As many rows as the data says: no fixed graph."""

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        counts = torch.bincount(ids[:, 0] % 3, minlength=3).tolist()
        return torch.cat([part + i for i, part in enumerate(torch.split(x, counts))])


class CountsRows(Part):
    """Python's ``len``, which one way of following a module cannot keep free."""

    def change(self, x: Tensor, ids: Tensor) -> Tensor:
        return x.view(len(x), -1)
