"""Retrieval: is a right text among an image's k nearest, and a right image among a text's? numpy.

Counted as CLIP's paper and CLIP_benchmark (package clip-benchmark 1.6.2) count recall@k: a query is
right or wrong as a whole, right when *any* of its own is among the k nearest by cosine.
``image_to_text`` is their ``text_retrieval_recall`` (texts are retrieved), ``text_to_image`` their
``image_retrieval_recall``, in percent here. What differs:

- a text may belong to several images;
- an image without a text (a text without an image) is no query, only a candidate that distracts;
  there it counts as a wrong query;
- ties count against the model: a candidate is ahead unless its cosine is lower by more than 1e-6,
  which float32 cannot tell apart. A model that gives every text the same vector finds nothing;
  there, ties go by the order of the data;
- a k that is not below the number of candidates says nothing and is left out; there it is an error;
- memory does not grow with images x texts: scores are made in blocks, once for both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import DataError

BLOCK = 1 << 24
"""Scores in memory at a time: 64 MiB of float32."""

TIE = 1e-6
"""Cosines nearer than this are equal."""

Vectors = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Retrieval:
    """Recall by k.

    Attributes:
        image_to_text: percent of images with an own text among the k nearest texts; only k below
            the number of texts.
        text_to_image: percent of texts with an own image among the k nearest images; in the same
            way.
        images: that were queries: with at least one text.
        texts: that were queries: with at least one image.
    """

    image_to_text: dict[int, float]
    text_to_image: dict[int, float]
    images: int
    texts: int


def retrieval(
    images: Vectors,
    texts: Vectors,
    owners: Sequence[Sequence[int]],
    ks: Sequence[int] = (1, 5, 10),
) -> Retrieval:
    """Recall@k both ways.

    Args:
        images: [I, J] float32, of any length (normalised here).
        texts: [T, J] float32.
        owners: for each text the indices of its images; may be empty.
        ks: each at least 1.

    Raises:
        DataError: no text has an image; a vector is not finite; an owner does not exist.
        ValueError: shapes do not fit, or a k is below 1.
    """
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(f"images {images.shape} and texts {texts.shape} do not fit")
    if len(owners) != len(texts) or min(ks, default=1) < 1:
        raise ValueError(f"{len(texts)} texts, {len(owners)} lists of owners, ks {tuple(ks)}")
    text, image = _pairs(owners, len(images))
    images, texts = _unit(images, "image"), _unit(texts, "text")
    ahead_of_texts, ahead_of_images = _ahead(images, texts, text, image)
    asked_images, asked_texts = np.unique(image), np.unique(text)
    return Retrieval(
        image_to_text=_recall(ahead_of_texts[asked_images], ks, len(texts)),
        text_to_image=_recall(ahead_of_images[asked_texts], ks, len(images)),
        images=len(asked_images),
        texts=len(asked_texts),
    )


def _pairs(owners: Sequence[Sequence[int]], images: int) -> tuple[Indices, Indices]:
    """The distinct pairs that belong together: index of the text, ascending; of the image."""
    found = [(text, image) for text, own in enumerate(owners) for image in sorted(set(own))]
    if not found:
        raise DataError(
            "no text belongs to an image: there is nothing to retrieve",
            hint="give each text the images that it describes",
        )
    stranger = next((pair for pair in found if not 0 <= pair[1] < images), None)
    if stranger:
        raise DataError(
            f"text {stranger[0]} belongs to image {stranger[1]}, which does not exist"
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


def _recall(ahead: Indices, ks: Sequence[int], candidates: int) -> dict[int, float]:
    return {k: 100 * int((ahead < k).sum()) / len(ahead) for k in ks if k < candidates}
