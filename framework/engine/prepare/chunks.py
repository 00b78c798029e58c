"""A chunk: what training needs to know of the texts of some consecutive rows of a data set.

Chunks do not depend on each other, so several processes compute them, and a stop loses one.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts.dataset import Dataset, Record
from engine.contracts.tokenizer import Tokenizer
from engine.errors import DataError
from engine.prepare.contents import number_of

ROWS = 32_768
"""Rows of a chunk: some seconds of work, some megabytes."""

_TEXTS_AT_ONCE = 8192


@dataclass(frozen=True)
class Reading:
    """How texts are read: two equal ones give equal chunks of equal rows.

    Attributes:
        tokenizer: of the text encoder.
        max_tokens: most ids of a text.
        languages: only texts in these; empty: all.
        taught_in: a row without a text in each of these is left out.
    """

    tokenizer: Tokenizer
    max_tokens: int
    languages: tuple[str, ...] = ()
    taught_in: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """Some rows. R rows, T texts, D different token sequences, numbered as they first come.

    Attributes:
        ids: [R] uint64, digests of the rows' ids, see ``contents.py``.
        texts: [R] uint64, digests of their texts.
        counts: [R] uint32, texts that training reads; 0: the row is left out.
        weights: [R] float32.
        sequence: [T] uint32, the number of each text's token sequence within the chunk.
        lengths: [D] uint32, tokens of each sequence.
        tokens: all sequences end to end, uint16 where the vocabulary allows it, else uint32.
        keys: [D, 2] uint64, 128 bits that name each sequence.
    """

    ids: NDArray[np.uint64]
    texts: NDArray[np.uint64]
    counts: NDArray[np.uint32]
    weights: NDArray[np.float32]
    sequence: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    tokens: NDArray[Any]
    keys: NDArray[np.uint64]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, for a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Chunk:
        """From what :meth:`arrays` gave."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def chunk_ranges(rows: int, size: int = ROWS) -> list[range]:
    """The rows of each chunk of a data set."""
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def read_chunk(dataset: Dataset, rows: range, reading: Reading) -> Chunk:
    """Read and tokenise some rows.

    Raises:
        DataError: a row's weight is below 0, or not a finite number.
    """
    ids, texts = array("Q"), array("Q")
    counts, weights = array("I"), array("f")
    sequences = _Sequences(reading)
    for index in rows:
        record = dataset.record(index)
        own = texts_of(dataset, record, reading.languages)
        ids.append(number_of([record.id]))
        texts.append(number_of(record.queries or own))
        if not all(record.texts_in(language) for language in reading.taught_in):
            own = ()
        counts.append(len(own))
        weights.append(_weight(dataset, record) if own else 1.0)
        sequences.add(own)
    sequences.flush()
    return Chunk(
        ids=np.asarray(ids, dtype=np.uint64),
        texts=np.asarray(texts, dtype=np.uint64),
        counts=np.asarray(counts, dtype=np.uint32),
        weights=np.asarray(weights, dtype=np.float32),
        sequence=np.asarray(sequences.numbers, dtype=np.uint32),
        lengths=np.asarray(sequences.lengths, dtype=np.uint32),
        tokens=np.asarray(sequences.tokens, dtype=token_dtype(reading.tokenizer.vocab_size)),
        keys=np.frombuffer(bytes(sequences.keys), dtype=np.uint64).reshape(-1, 2),
    )


class _Sequences:
    """Texts to numbers of different token sequences, some thousand texts at once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._waiting: list[str] = []
        self._text: dict[str, int] = {}
        self._known: dict[bytes, int] = {}
        self.numbers, self.lengths, self.tokens = array("I"), array("I"), array("I")
        self.keys = bytearray()

    def add(self, texts: Sequence[str]) -> None:
        self._waiting += texts
        if len(self._waiting) >= _TEXTS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        new = [text for text in dict.fromkeys(self._waiting) if text not in self._text]
        encoded = self._reading.tokenizer.encode(new, self._reading.max_tokens)
        for text, tokens in zip(new, encoded, strict=True):
            self._text[text] = self._number(array("I", tokens))
        self.numbers.extend([self._text[text] for text in self._waiting])
        self._waiting.clear()

    def _number(self, tokens: array[int]) -> int:
        key = hashlib.blake2b(tokens.tobytes(), digest_size=16).digest()
        number = self._known.setdefault(key, len(self._known))
        if number == len(self.lengths):
            self.tokens.extend(tokens)
            self.lengths.append(len(tokens))
            self.keys += key
        return number


def texts_of(dataset: Dataset, record: Record, languages: Sequence[str] = ()) -> tuple[str, ...]:
    """A row's texts as ``Dataset.texts`` gives them: queries, else the name of its class.

    Args:
        dataset: of the row.
        record: the row.
        languages: only queries in these; empty: all.
    """
    if languages:
        return tuple(
            text
            for text, language in zip(record.queries, record.languages, strict=False)
            if language in languages
        )
    if record.queries:
        return record.queries
    return () if record.label is None else (dataset.classes[record.label],)


def _weight(dataset: Dataset, record: Record) -> float:
    """A row's weight.

    Raises:
        DataError: it is below 0, or not a finite number.
    """
    if not (math.isfinite(record.weight) and record.weight >= 0):
        raise DataError(
            f"data set `{dataset.name}`: row `{record.id}` has the weight {record.weight}",
            hint="a weight is a finite number of at least 0",
        )
    return record.weight
