"""Retrieval: how many wrong texts are nearer than an image's right one, and back? numpy.

A query is right or wrong as a whole, by the nearest of *any* of its own candidates, as CLIP's paper
and CLIP_benchmark (package clip-benchmark 1.6.2) count recall@k. ``image_to_text`` is their
``text_retrieval_recall`` (texts are retrieved), ``text_to_image`` their ``image_retrieval_recall``.
What differs:

- a text may belong to several images;
- an image without a text (a text without an image) is not a query, only a candidate that distracts;
  there it counts as a wrong query;
- ties count against the model: a candidate is ahead unless its cosine is lower by more than 1e-6,
  which float32 cannot tell apart. A model that gives every text the same vector finds nothing;
  there, ties go by the order of the data;
- memory does not grow with images x texts: scores are made in blocks, once for both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.contracts.metric import RetrievalRanks
from engine.errors import DataError

BLOCK = 1 << 24
"""Scores in memory at a time: 64 MiB of float32."""

TIE = 1e-6
"""Cosines nearer than this are equal."""

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]


def retrieval(images: Vectors, texts: Vectors, owners: Sequence[Sequence[int]]) -> RetrievalRanks:
    """Where retrieval puts the best right candidate of each query, both ways.

    Args:
        images: [I, J] float32, of any length (normalised here).
        texts: [T, J] float32.
        owners: for each text the indices of its images; may be empty.

    Raises:
        DataError: no text has an image; a vector is not finite; an owner does not exist.
        ValueError: shapes do not fit.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(f"images {images.shape} and texts {texts.shape} do not fit")
    if len(owners) != len(texts):
        raise ValueError(f"{len(texts)} texts, {len(owners)} lists of owners")
    text, image = _pairs(owners, len(images))
    images, texts = _unit(images, "image"), _unit(texts, "text")
    ahead_of_texts, ahead_of_images = _ahead(images, texts, text, image)
    return RetrievalRanks(
        image_to_text=ahead_of_texts[np.unique(image)],
        text_to_image=ahead_of_images[np.unique(text)],
        images=len(images),
        texts=len(texts),
    )


def _pairs(owners: Sequence[Sequence[int]], images: int) -> tuple[Indices, Indices]:
    """The distinct pairs that belong together: index of the text, ascending; of the image."""
    found = [(text, image) for text, own in enumerate(owners) for image in sorted(set(own))]
    if not found:
        raise DataError(
            "no text belongs to an image: there is nothing to retrieve",
            hint="give each text the images that it describes",
        )
    wrong = next((pair for pair in found if not 0 <= pair[1] < images), None)
    if wrong:
        raise DataError(
            f"text {wrong[0]} belongs to image {wrong[1]}, which does not exist"
            f" (there are {images} images, numbered from 0)"
        )
    text, image = np.array(found, np.int64).T
    return text, image


def _unit(vectors: Vectors, what: str) -> Vectors:
    """Rows of length 1; a row of zeros stays, and is as near to everything."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.isfinite(lengths).all():
        first = int(np.argmin(np.isfinite(lengths)))
        raise DataError(
            f"the vector of {what} {first} is not finite",
            hint="the model's weights have most likely diverged in training",
        )
    scale = np.where(lengths > 0, lengths, 1).astype(np.float32)
    return np.asarray(vectors, np.float32) / scale[:, None]


def _ahead(
    images: Vectors, texts: Vectors, text: Indices, image: Indices
) -> tuple[Indices, Indices]:
    """How many wrong candidates are ahead of the best right one, by query.

    Returns:
        [I] wrong texts ahead of each image's best own text; [T] wrong images in the same way. A
        row that has no own has no meaning.
    """
    near = np.concatenate(
        [
            np.einsum("ij,ij->i", texts[text[part]], images[image[part]])
            for part in _slices(len(text), images.shape[1])
        ]
    )
    best_text = np.full(len(images), np.inf, np.float32)
    best_image = np.full(len(texts), np.inf, np.float32)
    for best, query in ((best_text, image), (best_image, text)):
        best[query] = -np.inf
        np.maximum.at(best, query, near - np.float32(TIE))
    ahead_of_texts = np.zeros(len(images), np.int64)
    ahead_of_images = np.zeros(len(texts), np.int64)
    for part in _slices(len(texts), len(images)):
        scores = texts[part] @ images.T
        first, last = np.searchsorted(text, (part.start, part.stop))
        own = slice(first, last)
        scores[text[own] - part.start, image[own]] = -np.inf
        ahead_of_texts += (scores >= best_text).sum(axis=0)
        ahead_of_images[part] = (scores >= best_image[part, None]).sum(axis=1)
    return ahead_of_texts, ahead_of_images


def _slices(rows: int, width: int) -> Iterator[slice]:
    """Runs of rows of ``width`` numbers that are no more than ``BLOCK`` together."""
    step = max(1, BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
