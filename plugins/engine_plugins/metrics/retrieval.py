"""Recall@k of retrieval, both ways.

Counted as CLIP's paper and CLIP_benchmark (package clip-benchmark 1.6.2) count it: a query is right
when any of its own candidates is among the k nearest. ``image_to_text`` is their "text retrieval"
(texts are retrieved), ``text_to_image`` their "image retrieval". Over data sets: the mean over
those that have queries. A k that is not below the number of candidates says nothing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engine.contracts.intervals import Interval, wilson
from engine.contracts.metric import Answers, Metric


def recall_at(ranks: NDArray[np.int64], candidates: int, k: int) -> float | None:
    """Percent of the queries with a right candidate among the ``k`` nearest.

    Args:
        ranks: int64 [queries], wrong candidates ahead of the best right one.
        candidates: how many there are; with ``k`` or fewer the recall says nothing: ``None``.
        k: at least 1.
    """
    if k >= candidates or not len(ranks):
        return None
    return 100 * int((ranks < k).sum()) / len(ranks)


class _Recall(Metric):
    unit = "%"
    needs = frozenset({"retrieval"})
    k: ClassVar[int]
    texts_are_found: ClassVar[bool]

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        return recall_at(*self._queries(answers), self.k)

    def items(self, answers: Answers) -> NDArray[np.float64]:
        """See the contract."""
        ranks, _ = self._queries(answers)
        return np.where(ranks < self.k, 100.0, 0.0)

    def interval(self, answers: Answers, value: float) -> Interval:
        """See the contract."""
        ranks, _ = self._queries(answers)
        return wilson(int((ranks < self.k).sum()), len(ranks))

    def _queries(self, answers: Answers) -> tuple[NDArray[np.int64], int]:
        found = answers.retrieval
        assert found is not None
        if self.texts_are_found:
            return found.image_to_text, found.texts
        return found.text_to_image, found.images


class ImageToTextR1(_Recall):
    """Share of the images whose nearest text is one of their own."""

    name, heading, priority = "image_to_text_r1", "R@1 to text", 24
    k, texts_are_found = 1, True
    exported_as = {"clip_benchmark": "text_retrieval_recall@1"}


class ImageToTextR5(_Recall):
    """Share of the images with a text of their own among the 5 nearest."""

    name, heading, priority = "image_to_text_r5", "R@5 to text", 22
    k, texts_are_found = 5, True
    exported_as = {"clip_benchmark": "text_retrieval_recall@5"}


class ImageToTextR10(_Recall):
    """Share of the images with a text of their own among the 10 nearest."""

    name, heading, priority = "image_to_text_r10", "R@10 to text", 20
    k, texts_are_found = 10, True
    exported_as = {"clip_benchmark": "text_retrieval_recall@10"}


class TextToImageR1(_Recall):
    """Share of the texts whose nearest image is one of their own."""

    name, heading, priority = "text_to_image_r1", "R@1 to image", 23
    k, texts_are_found = 1, False
    exported_as = {"clip_benchmark": "image_retrieval_recall@1"}


class TextToImageR5(_Recall):
    """Share of the texts with an image of their own among the 5 nearest."""

    name, heading, priority = "text_to_image_r5", "R@5 to image", 21
    k, texts_are_found = 5, False
    exported_as = {"clip_benchmark": "image_retrieval_recall@5"}


class TextToImageR10(_Recall):
    """Share of the texts with an image of their own among the 10 nearest."""

    name, heading, priority = "text_to_image_r10", "R@10 to image", 19
    k, texts_are_found = 10, False
    exported_as = {"clip_benchmark": "image_retrieval_recall@10"}
