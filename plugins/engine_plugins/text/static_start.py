"""Where a table of static embeddings begins: a teacher's vectors of the vocabulary's pieces.

Source: model2vec (Tulkens and van Dongen, 2024, github.com/MinishLab/model2vec): each piece goes
through the teacher by itself; principal components; weights that follow from Zipf's law (SIF: Arora
et al., "A Simple but Tough-to-Beat Baseline for Sentence Embeddings", 2017).
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from engine.contracts import Tokenizer
from engine.errors import DataError
from engine_plugins.text.static_settings import StaticStart

_UNUSED = re.compile(r"\[unused\d+\]")
"""Places that BERT's vocabularies keep free; no text has them."""

Table = NDArray[np.float64]


def static_table(
    start: StaticStart, tokenizer: Tokenizer, rows: int, width: int
) -> NDArray[np.float32]:
    """[rows, width] the embedding of each id; zeros for marks and ids that no text has.

    Args:
        start: of the settings.
        tokenizer: whose pieces the teacher reads, in the order of their ids.
        rows: of the table.
        width: of an embedding.

    Raises:
        DataError: the teacher gives fewer numbers than ``width``, or the vocabulary has fewer
            pieces.
    """
    pieces = {i: piece for i, piece in sorted(tokenizer.pieces().items())
              if not _UNUSED.fullmatch(piece)}  # fmt: skip
    if start.pca and len(pieces) <= width:
        raise DataError(
            f"the vocabulary has {len(pieces)} pieces: too few for {width} principal components",
            hint=f"a width below {len(pieces)}, or `start.pca: false`",
        )
    vectors = start.teacher.create().encode_pieces(list(pieces.values())).astype(np.float64)
    found = vectors.shape[1]
    if found < width or (found > width and not start.pca):
        raise DataError(
            f"the teacher `{start.teacher.name}` gives {found} numbers, `model.text.width` is"
            f" {width}",
            hint=f"set model.text.width to {found}, or to less with `start.pca`",
        )
    if start.pca:
        vectors = principal_components(vectors, width)
    table = np.zeros((rows, width), np.float32)
    table[list(pieces)] = vectors * zipf_weights(len(pieces), start.zipf)[:, None]
    return table


def principal_components(vectors: Table, width: int) -> Table:
    """[N, D] -> [N, width]: centred, and turned to the axes of most variance.

    The sign of an axis is a choice: its number of largest magnitude is positive.
    """
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred / (len(centred) - 1))
    scores = centred @ axes[:, ::-1][:, :width]
    largest = np.abs(scores).argmax(axis=0)
    found: Table = scores * np.sign(scores[largest, np.arange(width)])
    return found


def zipf_weights(count: int, a: float | None) -> Table:
    """[count] ``a / (a + p)``; ones without ``a``.

    ``p`` of the r-th piece is in proportion to ``1 / (r + 1)``, r from 1.
    """
    if a is None:
        return np.ones(count)
    share = 1 / np.arange(2, count + 2)
    found: Table = a / (a + share / share.sum())
    return found
