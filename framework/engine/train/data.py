"""Training data: rows with an image and token sequences, every text tokenised once.

All that is random here is a pure function of seed, stage and epoch: the same order, the same
queries, for any number of workers and processes, and after any interruption.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.key import item_key
from engine.clusters.assign import DatasetLabels
from engine.contracts.dataset import Dataset, Record
from engine.contracts.state import State
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.training import Rows
from engine.errors import DataError
from engine.train.contents import Contents

_TEXTS_AT_ONCE = 8192


class TokenTable:
    """Different token sequences, one after the other.

    Attributes:
        ids: [tokens] int32, all sequences end to end.
        starts: [sequences + 1] int64, where each begins in ``ids``.
    """

    def __init__(self, ids: NDArray[np.int32], starts: NDArray[np.int64], pad_id: int) -> None:
        self.ids, self.starts, self._pad_id = ids, starts, pad_id
        self.lengths: NDArray[np.int64] = np.diff(starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def tokens(self, number: int) -> NDArray[np.int32]:
        """The ids of one sequence."""
        return self.ids[self.starts[number] : self.starts[number + 1]]

    def key(self, number: int) -> bytes:
        """16 bytes that name the sequence by its content."""
        return item_key(self.tokens(number))

    def padded(self, numbers: Sequence[int] | Rows, length: int | None = None) -> State:
        """``ids`` and ``mask`` [B, L] of some sequences, L their longest or ``length``."""
        numbers = np.asarray(numbers)
        lengths = self.lengths[numbers]
        longest = int(lengths.max(initial=1)) if length is None else length
        ids = np.full((len(numbers), longest), self._pad_id, dtype=np.int64)
        mask = np.arange(longest) < lengths[:, None]
        places = self.starts[numbers][:, None] + np.arange(longest)
        ids[mask] = self.ids[places[mask]]
        return {"ids": torch.from_numpy(ids), "mask": torch.from_numpy(mask)}


class TrainingRows:
    """The usable rows of a data set: those with a text.

    Attributes:
        dataset: where the images are.
        rows: [N] int64, the data set's index of each usable row. Samplers count usable rows.
        first: [N + 1] int64, where each row's texts begin in ``sequence``.
        sequence: [texts] int64, the token sequence of each text.
        table: the token sequences.
        clusters: [N] int64, of each row; ``None`` without clusters.
        text_clusters: [texts] int64, of each text.
        cluster_count: number of clusters; 0 without.
        weights: [N] float32, how much each row counts; ``None`` where all count the same, 1.
        languages: in which the text encoder's texts are; empty: in any.
        without_text: how many rows of the data set have no text (for the text encoder, or in a
            teacher's language) and are left out.
        contents: the ids and texts of all rows of the data set, as digests.
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Tokenizer,
        max_tokens: int,
        labels: DatasetLabels | None = None,
        *,
        languages: Sequence[str] = (),
        taught_in: Sequence[str] = (),
    ) -> None:
        self.dataset, self.languages = dataset, tuple(languages)
        self.contents, self.without_text = Contents(), 0
        rows, first, weights = array("q"), array("q", [0]), array("f")
        seen: dict[bytes, int] = {}
        ids, starts, sequence = array("i"), array("q", [0]), array("q")
        waiting: list[str] = []

        def flush() -> None:
            for tokens in tokenizer.encode(waiting, max_tokens):
                packed = array("i", tokens)
                number = seen.setdefault(packed.tobytes(), len(seen))
                if number == len(starts) - 1:
                    ids.extend(packed)
                    starts.append(len(ids))
                sequence.append(number)
            waiting.clear()

        for index in range(len(dataset)):
            record = dataset.record(index)
            texts = texts_of(dataset, record, languages)
            self.contents.add(record.id, record.queries or texts)
            if not all(record.texts_in(language) for language in taught_in):
                texts = ()
            if not texts:
                self.without_text += 1
                continue
            waiting += texts
            rows.append(index)
            weights.append(_weight(dataset, record))
            first.append(first[-1] + len(texts))
            if len(waiting) >= _TEXTS_AT_ONCE:
                flush()
        flush()
        self.rows: Rows = np.asarray(rows, dtype=np.int64)
        self.first: Rows = np.asarray(first, dtype=np.int64)
        self.sequence: Rows = np.asarray(sequence, dtype=np.int64)
        self.table = TokenTable(
            np.asarray(ids, dtype=np.int32), np.asarray(starts, dtype=np.int64), tokenizer.pad_id
        )
        if not len(self.rows):
            raise DataError(
                f"data set `{dataset.name}`: not one of {len(dataset)} rows has a text to train on"
                + _in_languages({*languages, *taught_in})
            )
        counted = np.asarray(weights, dtype=np.float32)
        self.weights: NDArray[np.float32] | None = None if (counted == 1).all() else counted
        self.clusters: Rows | None = None
        self.text_clusters: Rows | None = None
        self.cluster_count = 0
        if labels is not None:
            self._take(labels)

    def _take(self, labels: DatasetLabels) -> None:
        if len(labels.rows) != len(self.dataset) or len(labels.texts) != len(self.sequence):
            raise DataError(
                f"clusters of {len(labels.rows)} rows and {len(labels.texts)} texts were given;"
                f" the data have {len(self.dataset)} rows and {len(self.sequence)} texts"
            )
        self.clusters, self.text_clusters = labels.rows[self.rows], labels.texts
        self.cluster_count = labels.count

    def __len__(self) -> int:
        return len(self.rows)

    def drawn(self, rows: Rows, draw: NDArray[np.float64]) -> Rows:
        """One text for each row.

        Args:
            rows: [B] usable rows.
            draw: [N] from 0 to 1, the epoch's draw of every usable row.

        Returns:
            [B] int64, numbers of texts.
        """
        first, count = self.first[rows], self.first[rows + 1] - self.first[rows]
        return first + (draw[rows] * count).astype(np.int64)

    def every(self, rows: Rows) -> tuple[Rows, Rows]:
        """All texts of the rows: their numbers [T], and how many each row has [B]."""
        counts = self.first[rows + 1] - self.first[rows]
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self.first[rows], counts) + inside, counts


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


def _in_languages(languages: Collection[str]) -> str:
    return f" in {' and '.join(sorted(languages))}" if languages else ""


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


def seed_of(*parts: int | str) -> int:
    """A seed (63 bits) for one purpose: the same parts, the same seed."""
    text = ":".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def draws(seed: int, rows: int) -> NDArray[np.float64]:
    """[rows] uniform from 0 to 1."""
    return np.random.default_rng(seed).random(rows)
