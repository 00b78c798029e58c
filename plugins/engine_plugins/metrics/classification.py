"""Metrics of zero-shot classification. An image without an answer counts as wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.contracts.intervals import Interval, wilson
from engine.contracts.metric import Answers, Metric, Value


class Accuracy(Metric):
    """Share of the images whose best answer is right.

    The value over data sets is the contest's score, the plain mean of the data sets' accuracies
    (yandex/mlcup). Intervals: Wilson for a data set, combined by MOVER for the mean.
    """

    name = "accuracy"
    heading = "accuracy"
    unit = "%"
    priority = 99
    exported_as = {"clip_benchmark": "acc1"}

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        return 100 * _right(answers) / len(answers.labels)

    def items(self, answers: Answers) -> NDArray[np.float64]:
        """See the contract."""
        return np.where(answers.labels == answers.best, 100.0, 0.0)

    def interval(self, answers: Answers, value: float) -> Interval:
        """See the contract."""
        return wilson(_right(answers), len(answers.labels))


class Top5(Metric):
    """Share of the images whose class is among the five best answers.

    It says nothing where there are at most five classes, or where fewer answers are known.
    """

    name = "top5"
    heading = "top-5"
    unit = "%"
    priority = 30
    exported_as = {"clip_benchmark": "acc5"}

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        if len(answers.classes) <= 5 or answers.ranked.shape[1] < 5:
            return None
        return 100 * int(self._hits(answers).sum()) / len(answers.labels)

    def items(self, answers: Answers) -> NDArray[np.float64]:
        """See the contract."""
        return np.where(self._hits(answers), 100.0, 0.0)

    def interval(self, answers: Answers, value: float) -> Interval:
        """See the contract."""
        return wilson(int(self._hits(answers).sum()), len(answers.labels))

    def combine(self, values: Sequence[Value | None]) -> Value | None:
        """The mean where every data set has it: a mean of only the easy ones would flatter."""
        return None if None in values else super().combine(values)

    @staticmethod
    def _hits(answers: Answers) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (answers.ranked[:, :5] == answers.labels[:, None]).any(axis=1)
        return found


class MeanRecall(Metric):
    """Mean over the classes of the share of their images that is found.

    Classes without an image do not count.
    """

    name = "mean_recall"
    heading = "mean recall"
    unit = "%"
    priority = 35
    exported_as = {"clip_benchmark": "mean_recall"}

    def compute(self, answers: Answers) -> float | None:
        """See the contract."""
        labels = answers.labels
        images = np.bincount(labels)
        hits = np.bincount(labels[labels == answers.best], minlength=len(images))
        there = images > 0
        shares = [100 * hit / count for hit, count in
                  zip(hits[there].tolist(), images[there].tolist(), strict=True)]  # fmt: skip
        return math.fsum(shares) / len(shares)


def _right(answers: Answers) -> int:
    return int((answers.labels == answers.best).sum())
