"""Embeddings become unit vectors; what has no direction, or is not a number, is reported.

A NaN compares as false with everything: ``argmax`` then gives class 0 to every picture, without any
error. So every embedding that an answer is made of passes through :func:`unit_rows`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.finite import check_finite
from engine.errors import DataError
from engine.printable import one_line

_SMALLEST = 1e-12
"""``functional.normalize`` divides by no less, so that a shorter row would not get length 1."""


def unit_rows(rows: Tensor, what: str, name_of: Callable[[int], str]) -> Tensor:
    """Rows of length 1 by :func:`torch.nn.functional.normalize`.

    Rows whose squares overflow or vanish in float32 get length 1 too. A row of zeros has no
    direction and stays one.

    Args:
        rows: [N, J] of any floating dtype.
        what: the rows are, for the message: ``"image"``, ``"text"``, ``"class"``.
        name_of: the name of row i.

    Returns:
        [N, J] float32.

    Raises:
        DataError: a row holds NaN or infinity; names the first ones.
    """
    rows = rows.float()
    check_rows(rows, what, name_of)
    lengths = rows.norm(dim=-1)
    odd = ~((lengths >= _SMALLEST) & lengths.isfinite())
    if odd.any():
        largest = rows.abs().amax(dim=-1, keepdim=True)
        rows = torch.where(odd[:, None] & (largest > 0), rows / largest, rows)
    return functional.normalize(rows, dim=-1)


def check_rows(rows: Tensor, what: str, name_of: Callable[[int], str]) -> None:
    """Refuse rows that hold NaN or infinity; the arguments are those of :func:`unit_rows`.

    Raises:
        DataError: names the first of them.
    """
    if rows.isfinite().all():
        return
    bad = (~rows.isfinite().all(dim=-1)).nonzero().flatten().tolist()
    check_finite(
        f"the embeddings of {len(bad):,} of {len(rows):,} {_PLURAL[what]}",
        {f"{what} `{one_line(name_of(i), 80)}`": rows[i] for i in bad},
        error=DataError,
        hint="the model's weights hold NaN, infinity or numbers that are too large: train or"
        " import it again",
    )


def without_direction(vectors: Tensor) -> list[int]:
    """The rows of zeros in [N, J]: their cosine with everything is 0."""
    return (vectors == 0).all(dim=-1).nonzero().flatten().tolist()


_PLURAL = {"image": "images", "text": "texts", "class": "classes"}
