"""Token tables: what chunks become, held to a dictionary that does it one text after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.dataset import Dataset, Record
from engine.prepare.chunks import Reading, chunk_ranges, read_chunk, token_dtype
from engine.prepare.tables import RowTables, TokenTable, join, number_by_first

Rows = list[tuple[tuple[str, ...], float]]


class Letters:
    """A letter is an id; folds case, so that different texts share a sequence."""

    pad_id, vocab_size = 0, 70_000

    def encode(self, texts: Any, max_tokens: int) -> list[list[int]]:
        return [[1, *(ord(c) for c in text.lower())][:max_tokens] for text in texts]


class Listed(Dataset):
    name = "listed"

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        texts, weight = self._rows[index]
        return Record(str(index), texts, weight=weight)


def tables(rows: Rows, size: int) -> RowTables:
    reading = Reading(Letters(), 5)  # type: ignore[arg-type]
    dataset = Listed(rows)
    chunks = [read_chunk(dataset, some, reading) for some in chunk_ranges(len(rows), size)]
    return join(chunks, lambda name, dtype, shape: np.empty(shape, dtype))


words = st.text(st.sampled_from("aAbBcé"), max_size=6)
rows = st.lists(
    st.tuples(st.lists(words, max_size=4).map(tuple), st.sampled_from([1.0, 1.0, 0.5])),
    min_size=1,
    max_size=30,
)


@settings(deadline=None)  # the first example imports what a loaded machine reads slowly
@given(rows, st.integers(1, 12))
def test_chunks_of_any_size_give_the_tables_of_one_pass(rows: Rows, size: int) -> None:
    found = tables(rows, size)
    seen: dict[tuple[int, ...], int] = {}
    sequence, usable, first = [], [], [0]
    for number, (texts, _) in enumerate(rows):
        encoded = Letters().encode(texts, 5)
        sequence += [seen.setdefault(tuple(ids), len(seen)) for ids in encoded]
        if texts:
            usable.append(number)
            first.append(first[-1] + len(texts))
    assert found.rows.tolist() == usable
    assert found.first.tolist() == first
    assert found.sequence.tolist() == sequence
    table = TokenTable(found.tokens, found.starts, 0)
    assert [tuple(table.tokens(n).tolist()) for n in range(len(table))] == list(seen)
    weights = [weight for texts, weight in rows if texts]
    assert found.weights.tolist() == ([] if all(w == 1 for w in weights) else weights)
    assert len(found.row_ids) == len(found.row_texts) == len(rows)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_keys_that_share_a_half_are_different(keys: list[tuple[int, int]]) -> None:
    array = np.array(keys, dtype=np.uint64).reshape(-1, 2)
    numbers, new = number_by_first(array)
    seen: dict[tuple[int, int], int] = {}
    assert numbers.tolist() == [seen.setdefault(key, len(seen)) for key in keys]
    assert int(new.sum()) == len(seen)


@pytest.mark.parametrize(("vocabulary", "dtype"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_take_the_smallest_type(vocabulary: int, dtype: type) -> None:
    assert token_dtype(vocabulary) is dtype


def test_padding_and_lengths() -> None:
    found = tables([(("ab", "a"), 1.0), (("abcd",), 1.0)], 1)
    table = TokenTable(found.tokens, found.starts, 9)
    assert table.lengths_of([0, 1, 2]).tolist() == [3, 2, 5]
    padded = table.padded([0, 1])
    assert padded["ids"].tolist() == [[1, 97, 98], [1, 97, 9]]
    assert padded["mask"].tolist() == [[True, True, True], [True, True, False]]
