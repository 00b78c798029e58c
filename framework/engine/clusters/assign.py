"""Texts, lines and data sets to clusters, in batches: millions of rows, a few of them in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from engine.clusters.store import Clusters
from engine.contracts.dataset import Dataset
from engine.core.progress import Progress, silent

BATCH = 4096
"""Texts that are embedded at once."""

MAX_LINE = 1 << 16
"""Bytes of a line that count; what follows is passed over."""

_TELL_EVERY = 25


@dataclass(frozen=True)
class DatasetLabels:
    """The clusters of a data set.

    Attributes:
        rows: [rows] int64, the cluster of each image: of the mean of its queries' vectors, each of
            length 1. -1: it has no text, or nothing is known of its texts.
        texts: [queries] int64, the cluster of each query, in the order of ``dataset.texts()``.
        count: number of clusters.
    """

    rows: NDArray[np.int64]
    texts: NDArray[np.int64]
    count: int


def assign_rows(
    clusters: Clusters, rows: Iterable[Sequence[str]], batch: int = BATCH
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The cluster of each image and of each of its texts, image by image.

    Args:
        clusters: fitted.
        rows: the texts of each image; may be none.
        batch: texts that are embedded at once, about.

    Yields:
        The image's cluster (of the mean of its texts' vectors) and those of its texts.
    """
    for some in _batches(rows, batch):
        yield from _assign_batch(clusters, some)


def _batches(rows: Iterable[Sequence[str]], batch: int) -> Iterator[list[Sequence[str]]]:
    waiting: list[Sequence[str]] = []
    texts = 0
    for row in rows:
        waiting.append(row)
        texts += max(1, len(row))
        if texts >= batch:
            yield waiting
            waiting, texts = [], 0
    if waiting:
        yield waiting


def _assign_batch(
    clusters: Clusters, rows: Sequence[Sequence[str]]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    different = list(dict.fromkeys(text for row in rows for text in row))
    place = {text: i for i, text in enumerate(different)}
    vectors = clusters.embed(different)
    of_text = clusters.predict(vectors)
    means = np.zeros((len(rows), clusters.document.width), np.float32)
    places = [np.array([place[text] for text in row], np.int64) for row in rows]
    for i, own in enumerate(places):
        if len(own):
            mean = vectors[own].mean(axis=0)
            length = np.linalg.norm(mean)
            # Queries that cancel each other out leave rounding, which must not be a direction.
            means[i] = mean / length if length > 1e-6 else 0
    for label, own in zip(clusters.predict(means).tolist(), places, strict=True):
        yield label, of_text[own]


def label_dataset(
    clusters: Clusters,
    dataset: Dataset,
    progress: Progress = silent,
    rows: range | None = None,
) -> DatasetLabels:
    """The clusters of a data set, 8 bytes a row and 8 a text.

    The texts of a row are its queries or, where it has none, the name of its class.

    Args:
        clusters: fitted.
        dataset: any.
        progress: receives how it goes.
        rows: only these; ``None``: all.
    """
    asked = range(len(dataset)) if rows is None else rows

    def texts_of(index: int) -> Sequence[str]:
        record = dataset.record(index)
        if record.queries or record.label is None:
            return record.queries
        return (dataset.classes[record.label],)

    labels, texts = array("q"), array("q")
    found = assign_rows(clusters, (texts_of(i) for i in asked))
    for done, (label, own) in enumerate(found):
        labels.append(label)
        texts.extend(own.tolist())
        if done % (_TELL_EVERY * 1000) == 0:
            progress("clusters of images", done, len(asked))
    return DatasetLabels(
        np.asarray(labels, dtype=np.int64), np.asarray(texts, dtype=np.int64), clusters.count
    )


def read_lines(file: IO[bytes], batch: int = BATCH) -> Iterator[list[str]]:
    """The lines of a stream, without their ends, as soon as they are there: at most a batch.

    What is not UTF-8 is replaced by U+FFFD. A line counts up to ``MAX_LINE`` bytes.
    """
    read = getattr(file, "read1", file.read)
    rest = b""
    skipping = False  # inside of a line that is too long
    while data := read(1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        if skipping and lines:
            lines, skipping = lines[1:], False
        elif skipping:
            rest = b""
        if len(rest) > MAX_LINE:
            lines, rest, skipping = [*lines, rest], b"", True
        for start in range(0, len(lines), batch):
            yield [_text(line) for line in lines[start : start + batch]]
    if rest:
        yield [_text(rest)]


def _text(line: bytes) -> str:
    return line[:MAX_LINE].rstrip(b"\r").decode("utf-8", "replace")
