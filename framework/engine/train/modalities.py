"""The two modalities of a batch, as the trainable rest of each tower takes them up.

A modality turns rows into groups: a group is a state at the end of the frozen prefix, and where its
rows belong in the batch. Texts of like length go together, equal texts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.cache.frozen import FrozenPrefix
from engine.cache.key import item_key
from engine.contracts.preprocess import Pixels, to_floats
from engine.contracts.state import State
from engine.contracts.tower import TextEncoder, VisionTower
from engine.contracts.training import Rows
from engine.core.devices import to_device
from engine.prepare.tables import TokenTable
from engine.train.pixels import PixelReader
from engine.train.upload import Uploader

_IMAGES_AT_ONCE = 32
"""Pictures that run through a frozen prefix at once: more are no faster and need more memory."""


def group_cost(device: torch.device, parameters: int) -> int:
    """What one group more costs, in tokens of work: fewer groups for larger costs.

    On a processor a group of the three last blocks of GPT-2 small (21 million parameters) costs
    about as much as 30 tokens, measured; a small model's operations take less time than calling
    them. A GPU wants few and large groups.
    """
    if device.type == "cpu":
        return 24 + 25_000_000 // max(parameters, 1)
    return 8192 if device.type == "cuda" else 2048


@dataclass(frozen=True)
class Group:
    """Rows that run through the rest of a tower together.

    Attributes:
        state: at the end of the frozen prefix, [R, ...] each.
        rows: [R] int64, their places among the modality's different rows.
    """

    state: State
    rows: Tensor


def group_by_length(
    lengths: Rows, cost: int, maximum: int | None = None
) -> list[NDArray[np.int64]]:
    """Split rows into groups so that padding and the number of groups together cost least.

    A group costs ``rows * longest + cost``. Rows of one length stay together, unless ``maximum``
    cuts them. Solved exactly, over the different lengths.

    Args:
        lengths: [R] tokens of each row.
        cost: of one group more, in tokens.
        maximum: rows a group may have at most.

    Returns:
        Places of rows, group by group; every row in one.
    """
    order = np.argsort(lengths, kind="stable")
    values, counts = np.unique(lengths, return_counts=True)
    ends = np.concatenate([[0], np.cumsum(counts)])
    # Least cost of the first j lengths, and where their last group begins.
    best, cut = np.zeros(len(values) + 1, dtype=np.int64), [0]
    for j in range(1, len(values) + 1):
        costs = best[:j] + (ends[j] - ends[:j]) * values[j - 1] + cost
        cut.append(int(costs.argmin()))
        best[j] = costs[cut[-1]]
    groups, j = [], len(values)
    while j:
        groups.append(order[ends[cut[j]] : ends[j]])
        j = cut[j]
    groups.reverse()
    if maximum is None:
        return groups
    return [some[i : i + maximum] for some in groups for i in range(0, len(some), maximum)]


class TextModality:
    """Token sequences of a batch.

    Args:
        tower: the text encoder.
        table: all sequences.
        prefix: its frozen prefix; ``None``: everything is run.
        device: of the model.
        chunk: rows of a group at most.
        whole: nothing is split nor merged (see ``stages.mixes_rows``).
    """

    def __init__(
        self,
        tower: TextEncoder,
        table: TokenTable,
        prefix: FrozenPrefix | None,
        device: torch.device,
        chunk: int | None,
        *,
        whole: bool,
    ) -> None:
        self.tower, self._table, self.prefix = tower, table, prefix
        self._device, self._chunk, self._whole = device, chunk, whole
        self.start = 0 if prefix is None else prefix.stop
        segments = tower.segments()
        rest = sum(p.numel() for s in segments[max(self.start, 1) :] for p in s.parameters())
        self._cost = group_cost(device, rest)

    def distinct(self, sequences: Rows) -> tuple[Rows, Rows]:
        """Sequences [T] -> the different ones [U], and where each of T is among them."""
        if self._whole:
            return sequences, np.arange(len(sequences))
        return np.unique(sequences, return_inverse=True)

    def groups(self, sequences: Rows) -> list[Group]:
        """Groups of different sequences [U]."""
        lengths = self._table.lengths_of(sequences)
        if self._whole:
            split = [np.arange(len(sequences))]
        elif self.tower.padding_costs or self.prefix is not None:
            split = group_by_length(lengths, self._cost, self._chunk)
        else:
            size = self._chunk or max(len(sequences), 1)
            split = [
                np.arange(i, min(i + size, len(sequences))) for i in range(0, len(sequences), size)
            ]
        if self.prefix is None:
            states = [self._table.padded(sequences[rows]) for rows in split]
        else:
            states = self._stored(sequences, lengths, split, self.prefix)
        return [
            Group(_to(state, self._device), torch.from_numpy(rows))
            for state, rows in zip(states, split, strict=True)
        ]

    def _stored(
        self, sequences: Rows, lengths: Rows, split: Sequence[Rows], prefix: FrozenPrefix
    ) -> list[State]:
        keys = [self._table.key(int(number)) for number in sequences]
        items = prefix.find(keys)
        missing = np.array([i for i, key in enumerate(keys) if key not in items], dtype=np.int64)
        computed: dict[bytes, NDArray[np.uint8]] = {}
        if len(missing):
            for some in group_by_length(lengths[missing], self._cost, 256):
                rows = missing[some]
                state = _to(self._table.padded(sequences[rows]), self._device)
                own = [keys[i] for i in rows]
                computed |= prefix.compute(state, own, lengths[rows].tolist())
            prefix.keep(computed)
            items |= computed
        return [
            prefix.state([items[keys[i]] for i in rows], lengths[rows].tolist())
            | self._table.padded(sequences[rows])
            for rows in split
        ]

    def tokens(self, sequences: Rows) -> State:
        """``ids`` and ``mask`` of sequences [T], on the device."""
        return _to(self._table.padded(sequences), self._device)


class ImageModality:
    """Pictures of a batch.

    Args:
        tower: the vision tower.
        reader: gives the pixels.
        prefix: its frozen prefix; ``None``: everything is run.
        pictures: views of all rows together.
        device: of the model.
        chunk: rows of a group at most.
    """

    def __init__(
        self,
        tower: VisionTower,
        reader: PixelReader,
        prefix: FrozenPrefix | None,
        pictures: int,
        device: torch.device,
        chunk: int | None,
    ) -> None:
        self.tower, self.reader, self.prefix = tower, reader, prefix
        self._device, self._chunk, self._upload = device, chunk, Uploader(device)
        self.start = 0 if prefix is None else prefix.stop
        self.digests = np.zeros((pictures if prefix else 0, 16), dtype=np.uint8)

    def ahead(self, numbers: Rows) -> None:
        """Begin to read the pixels that a later batch will need."""
        self.reader.ahead(self._unknown(numbers))

    def _unknown(self, numbers: Rows) -> list[int]:
        """The numbers whose pixels must be read: the cache does not hold what they give."""
        different = list(dict.fromkeys(numbers.tolist()))
        if self.prefix is None:
            return different
        keys = {number: self.digests[number].tobytes() for number in different}
        known = self.prefix.known(keys.values())
        return [number for number in different if keys[number] not in known]

    def groups(self, numbers: Rows) -> tuple[NDArray[np.bool_], list[Group]]:
        """Which of the pictures [B] are whole, and the groups of those, numbered in order."""
        if self.prefix is None:
            good, state = self._plain(numbers)
        else:
            good, state = self._through(numbers, self.prefix)
        count = int(good.sum())
        size = self._chunk or max(count, 1)
        return good, [
            Group(
                _to({name: t[i : i + size] for name, t in state.items()}, self._device),
                torch.arange(i, min(i + size, count)),
            )
            for i in range(0, count, size)
        ]

    def _plain(self, numbers: Rows) -> tuple[NDArray[np.bool_], State]:
        pixels = self.reader.take(numbers.tolist())
        good = np.array([each is not None for each in pixels], dtype=bool)
        whole = [each for each in pixels if each is not None]
        self.reader.keep(numbers[good].tolist(), whole)
        return good, {"pixels": self._normal(whole)} if whole else {}

    def _through(self, numbers: Rows, prefix: FrozenPrefix) -> tuple[NDArray[np.bool_], State]:
        """From the cache where it has what a picture gives; else read and computed."""
        asked = self._unknown(numbers)
        self.reader.drop(sorted(set(numbers.tolist()) - set(asked)))
        read = dict(zip(asked, self.reader.take(asked), strict=True))
        for number, pixels in read.items():
            if pixels is not None:
                self.digests[number] = np.frombuffer(item_key(pixels), np.uint8)
        lost = {number for number, pixels in read.items() if pixels is None}
        good = np.array([number not in lost for number in numbers.tolist()], dtype=bool)
        keys = {n: self.digests[n].tobytes() for n in numbers[good].tolist()}
        items = prefix.find(list(keys.values()))
        damaged = [n for n, key in keys.items() if key not in items and n not in read]
        read |= dict(zip(damaged, self.reader.take(damaged), strict=True))
        todo = {keys[n]: read[n] for n in keys if keys[n] not in items}
        computed: dict[bytes, NDArray[np.uint8]] = {}
        for i in range(0, len(todo), _IMAGES_AT_ONCE):
            some = dict(list(todo.items())[i : i + _IMAGES_AT_ONCE])
            whole = [each for each in some.values() if each is not None]
            state = {"pixels": self._normal(whole)}
            computed |= prefix.compute(state, list(some), [1] * len(whole))
        prefix.keep(computed)
        items |= computed
        rows = [items[keys[n]] for n in numbers[good].tolist()]
        return good, prefix.state(rows, [1] * len(rows)) if rows else {}

    def _normal(self, pixels: Sequence[Pixels]) -> Tensor:
        return to_floats(self._upload(pixels), self.tower.preprocess)


def _to(state: State, device: torch.device) -> State:
    return {name: to_device(tensor, device) for name, tensor in state.items()}
