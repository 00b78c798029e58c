"""What flows through a tower: a plain dictionary of tensors, one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

State = dict[str, Tensor]
"""Named tensors whose first dimension is the batch.

So that any point between two segments can be stored a sample at a time and taken up again, a state
holds everything the rest of the tower needs. Where a tensor counts tokens, they are its second
dimension, and what stands under padding is not kept. The names that Engine itself reads and writes:

==================== ================== ======= ==========================================
name                 shape              dtype   written by
==================== ================== ======= ==========================================
``ids``              [B, L]             int64   the tokenizer (padded with its ``pad_id``)
``mask``             [B, L]             bool    the tokenizer (True on tokens, False on
                                                padding)
``pixels``           [B, 3, H, W]       float   the image transform
``hidden``           the tower's own    float   stem and blocks
``pooled``           [B, tower.width]   float   the head
``token_embeddings`` [B, L, E]          float   ``TextEncoder.embed`` (only where a
                                                projection reads it)
``embedding``        [B, embed_dim]     float   the projection (not normalised)
``cluster``          [B]                int64   training: the cluster of each text, where
                                                known
==================== ================== ======= ==========================================

A plugin may add names of its own. It never changes a state in place: it returns a new dictionary.
"""


@dataclass(frozen=True)
class Output:
    """An entry that a tower can leave in its state, for a projection or a loss to read.

    Attributes:
        meaning: what it is, in a few words.
        shape: its dimensions, ``"[B, L, width]"``: the batch first, ``L`` where it counts tokens,
            numbers, attributes of the tower (``width``, ``settings.width``), other words for sizes
            that differ, or ``...`` for dimensions that nothing is said about.
    """

    meaning: str
    shape: str

    @property
    def counts_tokens(self) -> bool:
        """Whether one of its dimensions is the number of tokens, ``L``."""
        return "L" in self.shape.strip("[]").replace(" ", "").split(",")


MixesRows = bool | Literal["batch_norm"]
"""Whether the rows of a batch see each other in training mode.

``False``: they do not. ``"batch_norm"``: only through ``torch.nn.functional.batch_norm``, which
every BatchNorm layer of PyTorch calls. ``True``: in another way. Training never splits a batch that
is mixed, nor merges equal rows of it. Several processes take the statistics of batch_norm over the
rows of all of them; where rows are mixed in another way, several processes are refused. A layer may
have this attribute too.
"""


@dataclass(frozen=True)
class Segment:
    """A part of a tower that is frozen, counted and cached as one: stem, a block, or the head.

    A segment runs with its own parameters, or with those of segments before it.

    Attributes:
        name: ``"stem"``, ``"block 0"`` ..., ``"head"``.
        parts: the modules and parameters that belong to it. Every parameter of a tower belongs to
            exactly one segment; modules without parameters (dropout, say) belong to a segment too,
            because freezing puts a segment's modules in eval mode.
    """

    name: str
    parts: tuple[nn.Module | nn.Parameter, ...]

    def parameters(self) -> list[nn.Parameter]:
        """The segment's parameters, each once."""
        found: dict[int, nn.Parameter] = {}
        for part in self.parts:
            own = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
            found.update((id(p), p) for p in own)
        return list(found.values())


def segments_of(
    stem: Sequence[nn.Module | nn.Parameter],
    blocks: Sequence[nn.Module],
    head: Sequence[nn.Module | nn.Parameter],
) -> list[Segment]:
    """The usual list: one stem, one segment a block, one head."""
    return [
        Segment("stem", tuple(stem)),
        *(Segment(f"block {i}", (block,)) for i, block in enumerate(blocks)),
        Segment("head", tuple(head)),
    ]


def pad_tokens(rows: Sequence[Sequence[int]], pad_id: int) -> State:
    """Token sequences -> ``{"ids": [B, L] int64, "mask": [B, L] bool}``, L the longest of them.

    Raises:
        ValueError: a row is empty (a tokenizer gives at least one token for any text).
    """
    if any(len(row) == 0 for row in rows):
        raise ValueError("a token sequence is empty: a tokenizer must give at least one token")
    longest = max((len(row) for row in rows), default=1)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.as_tensor(row, dtype=torch.int64)
        mask[i, : len(row)] = True
    return {"ids": ids, "mask": mask}


def is_by_row(tensor: Tensor, rows: int) -> bool:
    """Whether a tensor has a row for each of ``rows`` samples, as every entry of a state should.

    A number for the whole batch (no dimension) is none: what a plugin adds of that kind stays with
    it, and is neither gathered from other processes nor given to a loss.
    """
    return tensor.dim() > 0 and len(tensor) == rows


def take(state: State, name: str, keep: frozenset[str]) -> Tensor:
    """An entry that a segment uses up: taken out of the state, unless it is to be kept.

    Args:
        state: a tower's own copy of its state; changed.
        name: of the entry.
        keep: names of the entries that stay, as :meth:`Tower.run` receives them.
    """
    return state[name] if name in keep else state.pop(name)


def last_place(mask: Tensor) -> Tensor:
    """[B, L] bool -> [B] int64: the place of each row's last token (where ``</s>`` stands)."""
    return mask.sum(dim=1) - 1


def take_place(hidden: Tensor, place: Tensor) -> Tensor:
    """[B, L, D], [B] int64 -> [B, D]: the hidden vector at one place of each row."""
    return hidden[torch.arange(hidden.shape[0], device=hidden.device), place]
