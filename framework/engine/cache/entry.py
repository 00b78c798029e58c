"""What a record of a cache is made of. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One tensor of a stored state.

    Attributes:
        name: in the state.
        shape: of one row, without the token dimension.
        tokens: whether the row's first dimension counts tokens.
        dtype: of what is stored, numpy's name.
    """

    name: str
    shape: tuple[int, ...]
    tokens: bool
    dtype: str
