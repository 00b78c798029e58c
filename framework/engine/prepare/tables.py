"""Chunks become tables: every token sequence once, and which rows and texts there are.

The same code joins chunks that lie in memory and chunks on disk, so prepared data hold the numbers
that training computes itself without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.key import item_key
from engine.contracts.dataset import Dataset
from engine.contracts.state import State
from engine.contracts.training import Rows
from engine.prepare.chunks import Chunk, Reading, chunk_ranges, read_chunk
from engine.prepare.contents import Contents

Allocate = Callable[[str, Any, tuple[int, ...]], NDArray[Any]]
"""Gives an array to fill, of a name, a dtype and a shape."""


class TokenTable:
    """Different token sequences, one after the other.

    Attributes:
        ids: all sequences end to end, uint16 or wider.
        starts: [sequences + 1] int64, where each begins in ``ids``.
    """

    def __init__(self, ids: NDArray[Any], starts: NDArray[np.int64], pad_id: int) -> None:
        self.ids, self.starts, self._pad_id = ids, starts, pad_id

    def __len__(self) -> int:
        return len(self.starts) - 1

    def lengths_of(self, numbers: Sequence[int] | Rows) -> Rows:
        """How many tokens some sequences have, int64."""
        numbers = np.asarray(numbers)
        found: Rows = self.starts[numbers + 1] - self.starts[numbers]
        return found

    def tokens(self, number: int) -> NDArray[np.int32]:
        """The ids of one sequence."""
        return self.ids[self.starts[number] : self.starts[number + 1]].astype(np.int32)

    def key(self, number: int) -> bytes:
        """16 bytes that name the sequence by its content."""
        return item_key(self.tokens(number))

    def padded(self, numbers: Sequence[int] | Rows, length: int | None = None) -> State:
        """``ids`` and ``mask`` [B, L] of some sequences, L their longest or ``length``."""
        numbers = np.asarray(numbers)
        lengths = self.lengths_of(numbers)
        longest = int(lengths.max(initial=1)) if length is None else length
        ids = np.full((len(numbers), longest), self._pad_id, dtype=np.int64)
        mask = np.arange(longest) < lengths[:, None]
        places = self.starts[numbers][:, None] + np.arange(longest)
        ids[mask] = self.ids[places[mask]]
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}


@dataclass(frozen=True)
class RowTables:
    """The usable rows of a data set, those with a text, and their texts as numbers.

    Attributes:
        rows: [N] int64, the data set's index of each usable row.
        first: [N + 1] int64, where each row's texts begin in ``sequence``.
        sequence: [texts] uint32, the token sequence of each text.
        tokens: the sequences end to end, see :class:`TokenTable`.
        starts: [sequences + 1] int64.
        weights: [N] float32; empty where all rows count the same, 1.
        row_ids: [rows of the data set] uint64, see :class:`engine.prepare.contents.Contents`.
        row_texts: [rows of the data set] uint64.
    """

    rows: NDArray[np.int64]
    first: NDArray[np.int64]
    sequence: NDArray[np.uint32]
    tokens: NDArray[Any]
    starts: NDArray[np.int64]
    weights: NDArray[np.float32]
    row_ids: NDArray[np.uint64]
    row_texts: NDArray[np.uint64]

    @property
    def contents(self) -> Contents:
        """What the data set holds, as digests."""
        return Contents(self.row_ids, self.row_texts)


class Chunks(Protocol):
    """Chunks by number; one is in memory at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Chunk: ...


def read_tables(dataset: Dataset, reading: Reading) -> RowTables:
    """Read a whole data set, in memory.

    Raises:
        DataError: see :func:`engine.prepare.chunks.read_chunk`.
    """
    chunks = [read_chunk(dataset, rows, reading) for rows in chunk_ranges(len(dataset))]
    return join(chunks, lambda name, dtype, shape: np.empty(shape, dtype))


def join(chunks: Chunks, allocate: Allocate) -> RowTables:
    """Join all chunks of a data set, in order.

    Sequences are numbered in the order in which they first come. At most some 60 bytes of memory
    for each sequence that is different within its chunk, beside what ``allocate`` gives.

    Args:
        chunks: read twice each.
        allocate: gives the arrays of the result.
    """
    counts, keys, lengths, texts, weighted = [], [], [], 0, False
    for number in range(len(chunks)):
        chunk = chunks[number]
        counts.append(chunk.counts)
        keys.append(chunk.keys)
        lengths.append(chunk.lengths)
        texts += len(chunk.sequence)
        weighted |= bool((chunk.weights[chunk.counts > 0] != 1).any())
    count, length = np.concatenate(counts), np.concatenate(lengths)
    numbers, new = number_by_first(np.concatenate(keys))
    del keys, lengths, counts
    usable = np.flatnonzero(count)
    tables = RowTables(
        rows=allocate("rows", np.int64, (len(usable),)),
        first=allocate("first", np.int64, (len(usable) + 1,)),
        sequence=allocate("sequence", np.uint32, (texts,)),
        tokens=allocate("tokens", _dtype(chunks), (int(length[new].sum(dtype=np.int64)),)),
        starts=allocate("starts", np.int64, (int(new.sum()) + 1,)),
        weights=allocate("weights", np.float32, (len(usable) if weighted else 0,)),
        row_ids=allocate("row_ids", np.uint64, (len(count),)),
        row_texts=allocate("row_texts", np.uint64, (len(count),)),
    )
    tables.rows[:] = usable
    tables.first[0] = tables.starts[0] = 0
    np.cumsum(count[usable], dtype=np.int64, out=tables.first[1:])
    np.cumsum(length[new], dtype=np.int64, out=tables.starts[1:])
    _fill(tables, chunks, numbers, new)
    return tables


def _dtype(chunks: Chunks) -> Any:
    return chunks[0].tokens.dtype if len(chunks) else np.uint16


def _fill(
    tables: RowTables, chunks: Chunks, numbers: NDArray[np.uint32], new: NDArray[np.bool_]
) -> None:
    row = usable = text = token = sequence = 0
    for number in range(len(chunks)):
        chunk = chunks[number]
        own = slice(sequence, sequence + len(chunk.lengths))
        sequence = own.stop
        end = row + len(chunk.ids)
        tables.row_ids[row:end], tables.row_texts[row:end], row = chunk.ids, chunk.texts, end
        end = text + len(chunk.sequence)
        tables.sequence[text:end], text = numbers[own][chunk.sequence], end
        kept = chunk.tokens[np.repeat(new[own], chunk.lengths)]
        tables.tokens[token : token + len(kept)], token = kept, token + len(kept)
        if len(tables.weights):
            weights = chunk.weights[chunk.counts > 0]
            end = usable + len(weights)
            tables.weights[usable:end], usable = weights, end


def number_by_first(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Number equal keys equally, in the order in which they first come.

    Args:
        keys: [D, 2], 128 bits each.

    Returns:
        The number of each [D], and where a number comes for the first time [D].
    """
    order = np.argsort(keys[:, 0], kind="stable")
    ordered = keys[order, 0]
    begins = np.append(True, ordered[1:] != ordered[:-1]) if len(keys) else np.zeros(0, bool)
    ordered = keys[order, 1]
    if len(keys) and not (begins[1:] | (ordered[1:] == ordered[:-1])).all():
        # Two keys share their first half: the rare case costs a sort by both halves.
        order = np.lexsort((keys[:, 1], keys[:, 0]))
        both = keys[order]
        begins = np.append(True, (both[1:] != both[:-1]).any(axis=1))
    new = np.zeros(len(keys), dtype=bool)
    new[order[begins]] = True  # a stable sort: the first of a group is the one that came first
    number = (np.cumsum(new, dtype=np.uint32) - np.uint32(1)).astype(np.uint32)
    group = np.cumsum(begins, dtype=np.int64) - 1
    found = np.empty(len(keys), dtype=np.uint32)
    found[order] = number[order[begins]][group]
    return found, new


def tables_of(arrays: Mapping[str, NDArray[Any]]) -> RowTables:
    """Tables from arrays by the names of the attributes."""
    return RowTables(**{name: arrays[name] for name in NAMES})


NAMES: Iterable[str] = tuple(RowTables.__dataclass_fields__)
