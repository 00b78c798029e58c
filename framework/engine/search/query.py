"""What is searched for becomes one vector: texts, with plus and minus, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.data.pictures import Picture
from engine.errors import DataError

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor


def query_vector(
    predictor: Predictor,
    texts: Sequence[str] = (),
    *,
    minus: Sequence[str] = (),
    images: Sequence[Picture] = (),
) -> NDArray[np.float32]:
    """The sum of the unit vectors of texts and pictures, less those of the texts with a minus.

    Args:
        predictor: the model.
        texts: what the pictures show.
        minus: what they do not show.
        images: pictures like those that are looked for.

    Returns:
        [J] float32, of length 1.

    Raises:
        DataError: nothing to look for, an empty text, or the parts cancel each other out.
        BrokenImageError: a picture cannot be read.
    """
    blank = [text for text in (*texts, *minus) if not text.strip()]
    if blank:
        raise DataError("a text to search for is empty")
    if not texts and not images:
        raise DataError("nothing to search for", hint="give a text, or a picture with --image")
    total = np.zeros(predictor.model.embed_dim, np.float64)
    if texts or minus:
        rows = predictor.encode_texts([*texts, *minus])
        total += rows[: len(texts)].sum(axis=0) - rows[len(texts) :].sum(axis=0)
    if images:
        total += predictor.encode_images(list(images)).sum(axis=0)
    length = float(np.linalg.norm(total))
    if length < 1e-6:
        raise DataError("the texts with + and - cancel each other out: nothing is looked for")
    return (total / length).astype(np.float32)
