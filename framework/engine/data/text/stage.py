"""What a worker does in one pass of the cleaning over some rows of the table."""

from __future__ import annotations

import heapq
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.click_log import written_id
from engine.data.text.dedup import COMPARING_STEPS, Local, TableStep
from engine.data.text.settings import CleaningStep
from engine.data.text.spill import Rows
from engine.data.text.steps import TEXT_STEPS
from engine.data.text.table import TextBatch

EXAMPLES = 10
"""Changes shown of each step."""

Example = tuple[int, str, str | None]
"""A hash that chose it, the text before, the text after (``None``: dropped)."""


@dataclass(frozen=True)
class Stage:
    """Steps that one pass takes.

    Attributes:
        before: number of the step that decided which texts the pass before this one drops.
        steps: number and step of those that need no other rows.
        table: number and step of one at the end that must see the whole table.
    """

    before: int | None
    steps: tuple[tuple[int, CleaningStep], ...]
    table: tuple[int, CleaningStep] | None


@dataclass(frozen=True)
class Piece:
    """Rows that a pass before this one wrote, and which of their texts are to be dropped."""

    data: bytes
    drop: NDArray[np.bool_]


@dataclass
class Tally:
    """What a step did.

    Attributes:
        touched: texts that it changed.
        dropped: texts that it dropped.
        examples: of both; chance chose them by their texts, the same in every run.
    """

    touched: int = 0
    dropped: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what was counted elsewhere."""
        self.touched += other.touched
        self.dropped += other.dropped
        self.examples = heapq.nsmallest(EXAMPLES, {*self.examples, *other.examples}, key=_order)

    def see(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Count the changes of some texts; an empty text after is a dropped one."""
        found: set[Example] = set()
        for old, new in zip(before, after, strict=True):
            if old == new:
                continue
            if new:
                self.touched += 1
            else:
                self.dropped += 1
            found.add((zlib.crc32(old.encode()), old, new or None))
        if found:
            self.add(Tally(examples=heapq.nsmallest(EXAMPLES, found, key=_order)))


def _order(example: Example) -> tuple[int, str, str]:
    return example[0], example[1], example[2] or ""


@dataclass
class Done:
    """What became of some rows.

    Attributes:
        data: the rows that are left, as JSON lines.
        images, texts: how many of each that are.
        read: texts that were there.
        images_read: images that were there.
        tallies: by the step's number.
        rows: what the step that sees the whole table wants kept.
    """

    data: bytes
    images: int
    texts: int
    read: int
    images_read: int
    tallies: dict[int, Tally]
    rows: Rows | None


class Work:
    """In a worker: one stage, called with batches of lines or with pieces."""

    def __init__(self, stage: Stage) -> None:
        self._before = stage.before
        self._steps = [(number, make_local(step)) for number, step in stage.steps]
        self._table = None if stage.table is None else make_table(stage.table[1])

    def __call__(self, item: TextBatch | Piece) -> Done:
        """Run the steps over one batch, or over what an earlier stage left of it."""
        ids, owners, texts = _rows(item)
        read, images_read = len(texts), len(ids)
        tallies: dict[int, Tally] = {}
        if isinstance(item, Piece):
            assert self._before is not None
            new = ["" if drop else text for drop, text in zip(item.drop, texts, strict=True)]
            owners, texts = _kept(owners, texts, new, tallies.setdefault(self._before, Tally()))
        for number, step in self._steps:
            new = step(texts, owners)
            owners, texts = _kept(owners, texts, new, tallies.setdefault(number, Tally()))
        data, images = _lines(ids, owners, texts)
        rows = None if self._table is None else self._table.collect(texts, owners)
        return Done(data, images, len(texts), read, images_read, tallies, rows)


def is_local(step: CleaningStep) -> bool:
    """Whether the step needs no more than the texts of one image."""
    return step.name in TEXT_STEPS or not hasattr(_comparing(step), "decide")


def make_local(step: CleaningStep) -> Local:
    """The function of a step that needs no other image."""
    if step.name in TEXT_STEPS:
        clean = TEXT_STEPS[step.name][1](step.settings)

        def each(texts: Sequence[str], owners: Sequence[int]) -> list[str]:
            return [new if not (new := clean(text)).isspace() else "" for text in texts]

        return each
    found = _comparing(step)
    assert callable(found)
    return found


def make_table(step: CleaningStep) -> TableStep:
    """The step that sees the whole table."""
    found = _comparing(step)
    assert not callable(found)
    return found


def _comparing(step: CleaningStep) -> Local | TableStep:
    return COMPARING_STEPS[step.name][1](step.settings)


def _rows(item: TextBatch | Piece) -> tuple[list[int | str], list[int], list[str]]:
    """Ids; the place among them of each text's image; the texts."""
    ids: list[int | str] = []
    owners: list[int] = []
    texts: list[str] = []
    found: Any
    if isinstance(item, TextBatch):
        found = ((written_id(row.id), row.queries) for _, row in item.records())
    else:
        lines = map(json.loads, item.data.splitlines())
        found = ((line["image"], line["queries"]) for line in lines)
    for name, queries in found:
        owners += [len(ids)] * len(queries)
        texts += queries
        ids.append(name)
    return ids, owners, texts


def _kept(
    owners: list[int], texts: list[str], new: Sequence[str], tally: Tally
) -> tuple[list[int], list[str]]:
    """Count what a step did, and go on with what it left."""
    if texts != new:
        tally.see(texts, new)
        owners = [owner for owner, text in zip(owners, new, strict=True) if text]
        texts = [text for text in new if text]
    return owners, texts


def _lines(ids: list[int | str], owners: list[int], texts: list[str]) -> tuple[bytes, int]:
    grouped: dict[int, list[str]] = {}
    for owner, text in zip(owners, texts, strict=True):
        grouped.setdefault(owner, []).append(text)
    rows = [
        json.dumps({"image": ids[owner], "queries": queries}, ensure_ascii=False)
        for owner, queries in grouped.items()
    ]
    return "".join(row + "\n" for row in rows).encode(), len(rows)
