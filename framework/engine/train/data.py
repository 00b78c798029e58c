"""Training data: rows with an image and token sequences, every text tokenised once.

All that is random here is a pure function of seed, stage and epoch: the same order, the same
queries, for any number of workers and processes, and after any interruption.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.clusters.assign import DatasetLabels
from engine.contracts.dataset import Dataset
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.training import Rows
from engine.errors import DataError
from engine.prepare.chunks import Reading
from engine.prepare.tables import RowTables, TokenTable, read_tables


class TrainingRows:
    """The usable rows of a data set: those with a text.

    Attributes:
        dataset: where the images are.
        rows: [N] int64, the data set's index of each usable row. Samplers count usable rows.
        first: [N + 1] int64, where each row's texts begin in ``sequence``.
        sequence: [texts] uint32, the token sequence of each text.
        table: the token sequences.
        clusters: [N] int64, of each row; ``None`` without clusters.
        text_clusters: [texts] int64, of each text.
        cluster_count: number of clusters; 0 without.
        weights: [N] float32, how much each row counts; ``None`` where all count the same, 1.
        languages: in which the text encoder's texts are; empty: in any.
        shards: [shards + 1] int64, where the usable rows of each shard begin; ``None`` where the
            data are not in shards.
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
        tables: RowTables | None = None,
    ) -> None:
        self.dataset, self.languages = dataset, tuple(languages)
        if tables is None:
            reading = Reading(tokenizer, max_tokens, tuple(languages), tuple(taught_in))
            tables = read_tables(dataset, reading)
        self.contents = tables.contents
        self.without_text = len(dataset) - len(tables.rows)
        self.rows: Rows = tables.rows
        self.first: Rows = tables.first
        starts = dataset.shards()
        self.shards: Rows | None = None if starts is None else np.searchsorted(self.rows, starts)
        self.sequence: NDArray[np.uint32] = tables.sequence
        self.table = TokenTable(tables.tokens, tables.starts, tokenizer.pad_id)
        if not len(self.rows):
            raise DataError(
                f"data set `{dataset.name}`: not one of {len(dataset)} rows has a text to train on"
                + _in_languages({*languages, *taught_in})
            )
        self.weights: NDArray[np.float32] | None = tables.weights if len(tables.weights) else None
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


def _in_languages(languages: Collection[str]) -> str:
    return f" in {' and '.join(sorted(languages))}" if languages else ""


def draws(seed: int, rows: int) -> NDArray[np.float64]:
    """[rows] uniform from 0 to 1."""
    return np.random.default_rng(seed).random(rows)
