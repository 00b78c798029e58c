"""Token tables that stay as they are stored: a row is decoded when it is looked up.

A table of 250,002 rows of 768 numbers takes 768 MB as float32 and 100 MB in 4 bits. A model that is
read for prediction keeps its stored bytes alone, and looks up the few rows that a text needs; the
numbers are those of the decoded table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts.filling import tied_names
from engine.core.model import DualEncoder
from engine.core.storage_file import EncodedTensor

MIN_NUMBERS = 1 << 20
"""Smaller tables are decoded: they cost less than the look-ups."""

_ROWS = 4096


@dataclass(frozen=True)
class StoredRows:
    """A tensor as it is stored.

    Attributes:
        kept: its storage, its parts and its shape, [rows, width].
    """

    kept: EncodedTensor

    def rows(self, rows: np.ndarray) -> Tensor:
        """int64 [N] -> float32 [N, width]."""
        storage, parts, shape = self.kept
        found = storage.decode_rows(parts, shape, rows)
        return torch.from_numpy(np.require(found, np.float32, ["C", "W"]))

    def blocks(self) -> Iterator[Tensor]:
        """All rows, some at a time."""
        for start in range(0, self.kept.shape[0], _ROWS):
            yield self.rows(np.arange(start, min(start + _ROWS, self.kept.shape[0])))

    @property
    def bytes(self) -> int:
        """Bytes that it holds in memory."""
        return sum(part.array.nbytes for part in self.kept.parts.values())


class StoredTable(nn.Module):
    """Stands in for ``nn.Embedding`` or ``nn.EmbeddingBag`` of the mode ``mean``.

    ``weight`` and the state dict decode the whole table at each call, for what asks for them.

    Args:
        rows: the table.
        bag: it stands in for an ``EmbeddingBag``.
    """

    def __init__(self, rows: StoredRows, *, bag: bool) -> None:
        super().__init__()
        self.rows = rows
        self.bag = bag

    @property
    def weight(self) -> Tensor:
        """The whole table, decoded: float32 [rows, width]."""
        return torch.cat(list(self.rows.blocks()))

    def forward(self, ids: Tensor, offsets: Tensor | None = None) -> Tensor:
        """As the module that it stands in for: ids [...] -> [..., width], a bag [N] -> [B, width].

        Args:
            ids: int64.
            offsets: int64 [B], where each bag begins, for a bag alone.
        """
        rows, places = torch.unique(ids.cpu(), return_inverse=True)
        table = self.rows.rows(rows.numpy()).to(ids.device)
        places = places.to(ids.device)
        if self.bag:
            return functional.embedding_bag(places, table, offsets, mode="mean")
        return functional.embedding(places, table)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.weight


def tables_of(model: DualEncoder, shapes: Mapping[str, Iterable[int]]) -> set[str]:
    """Names of the tensors of a model that may stay as they are stored.

    They are the weights of plain, untied embedding tables of the text encoder, of at least
    ``MIN_NUMBERS`` numbers.

    Args:
        model: on any device.
        shapes: of the stored tensors, by name.
    """
    tied = tied_names(model)
    shared = {*tied, *tied.values()}
    found = set()
    for path, module in model.text.named_modules():
        name = f"text.{path}.weight"
        if not _replaceable(module) or name in shared or name not in shapes:
            continue
        if module.weight.numel() >= MIN_NUMBERS and tuple(module.weight.shape) == tuple(
            shapes[name]
        ):
            found.add(name)
    return found


def _replaceable(module: nn.Module) -> bool:
    if type(module) is nn.Embedding:
        return module.max_norm is None and not module.scale_grad_by_freq
    return type(module) is nn.EmbeddingBag and module.mode == "mean" and module.max_norm is None


def put_tables(model: DualEncoder, kept: Mapping[str, StoredRows]) -> None:
    """Let stored tables take the places of a model's own, in place."""
    for name, rows in kept.items():
        path, _, last = name.removesuffix(".weight").rpartition(".")
        parent = model.get_submodule(path)
        old = getattr(parent, last)
        table = StoredTable(rows, bag=isinstance(old, nn.EmbeddingBag)).train(old.training)
        setattr(parent, last, table)


def decoded_blocks(kept: Mapping[str, StoredRows]) -> Iterator[tuple[str, Tensor]]:
    """Every number of stored tables, some rows at a time, with the table's name."""
    for name, rows in kept.items():
        for block in rows.blocks():
            yield name, block
