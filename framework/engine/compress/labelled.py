"""The user's own data: pictures for the calibration set, and accuracy where labels are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.compress.calibration import spread
from engine.compress.choosing import Scorer
from engine.contracts.dataset import Dataset
from engine.core.build import Built
from engine.errors import DataError
from engine.evaluate.images import read_batches
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import run
from engine.evaluate.scores import Labels
from engine.evaluate.statistics import Correct


def pictures_of(built: Built, datasets: Sequence[Dataset], most: int) -> list[np.ndarray]:
    """Some pictures of data sets, evenly spaced, uint8 [S, S, 3]; broken ones are left out."""
    found: list[np.ndarray] = []
    for dataset in datasets:
        rows = spread(list(range(len(dataset))), max(1, most // len(datasets)))
        chosen = _Rows(dataset, rows)
        for batch in read_batches(chosen, built.model.vision.preprocess):
            found += [np.asarray(each.pixels) for each in batch.read]
    return found


class _Rows:
    """Some rows of a data set."""

    def __init__(self, dataset: Dataset, rows: Sequence[int]) -> None:
        self._dataset, self._rows = dataset, rows
        self.record = lambda index: dataset.record(rows[index])
        self.image = lambda index: dataset.image(rows[index])

    def __len__(self) -> int:
        return len(self._rows)


def scorer_of(datasets: Sequence[Dataset], labels: Labels) -> Scorer:
    """Says which labelled images of some data sets a model answers rightly.

    Broken images count as wrong; data sets without a label are left out.

    Raises:
        DataError: no image has a label.
    """
    known: list[tuple[Dataset, Mapping[str, int]]] = [
        (dataset, labels.get(dataset.name, {})) for dataset in datasets
    ]
    known = [(dataset, truth) for dataset, truth in known if truth]
    if not known:
        raise DataError("the truth has no answer for any image of the data")

    def scorer(built: Built) -> Correct:
        predictor = Predictor(built)
        found = []
        for dataset, truth in known:
            answers = run(predictor, dataset, refuse_alike=False).predictions
            right = [answers.get(image) == label for image, label in sorted(truth.items())]
            found.append(np.array([right], dtype=bool))
        return found

    return scorer
