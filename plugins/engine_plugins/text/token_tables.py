"""Token tables: whole, or as the product of two smaller ones.

Source of the second: Lan et al., 2019, arXiv:1909.11942 (ALBERT's factorised embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_ROWS = 16384


class FactoredTable(nn.Module):
    """Looks up rows of ``rows @ basis.T`` without ever making the whole table.

    Args:
        count: rows of the table.
        width: of a row.
        rank: numbers that are kept of a row.
    """

    def __init__(self, count: int, width: int, rank: int) -> None:
        super().__init__()
        self.rows = nn.Embedding(count, rank)
        self.basis = nn.Linear(rank, width, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[...] int64 -> [..., width]."""
        found: Tensor = self.basis(self.rows(ids))
        return found


def token_table(count: int, width: int, rank: int | None) -> nn.Embedding | FactoredTable:
    """The table of a text encoder, [count, width].

    Args:
        count: rows.
        width: of a row.
        rank: of the factors; ``None``: one whole table.
    """
    return nn.Embedding(count, width) if rank is None else FactoredTable(count, width, rank)


def initialise(table: nn.Embedding | FactoredTable, std: float) -> None:
    """Random rows of a standard deviation."""
    if isinstance(table, nn.Embedding):
        nn.init.normal_(table.weight, std=std)
    else:
        nn.init.normal_(table.rows.weight, std=std)
        nn.init.normal_(table.basis.weight, std=table.rows.embedding_dim**-0.5)


def factors(table: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The two tables whose product is nearest to a table, by the squares of its numbers.

    Args:
        table: [N, W] float.
        rank: R, at most W.

    Returns:
        rows [N, R] and basis [W, R] float32; the columns of the basis have length 1.
    """
    # The right singular vectors are the eigenvectors of T'T, which is small however long T is.
    square = torch.zeros(table.shape[1], table.shape[1], dtype=torch.float64)
    for start in range(0, len(table), _ROWS):
        part = table[start : start + _ROWS].double()
        square += part.T @ part
    _, vectors = torch.linalg.eigh(square)
    basis = vectors.flip(1)[:, :rank].float()
    rows = torch.empty(len(table), rank)
    for start in range(0, len(table), _ROWS):
        rows[start : start + _ROWS] = table[start : start + _ROWS].float() @ basis
    return rows, basis.contiguous()


def with_factors(weights: Mapping[str, Tensor], name: str, rank: int | None) -> dict[str, Tensor]:
    """Weights with a whole table replaced by its factors, where a tower has factors.

    Args:
        weights: by name; those that have factors already are left as they are.
        name: of the table's module.
        rank: of the factors; ``None``: the tower has a whole table.
    """
    found = dict(weights)
    if rank is not None and f"{name}.weight" in found:
        table = found.pop(f"{name}.weight")
        found[f"{name}.rows.weight"], found[f"{name}.basis.weight"] = factors(table, rank)
    return found
