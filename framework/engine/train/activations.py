"""The image modality of a batch where the data have no images: activations, or nothing at all.

Both stand in for :class:`engine.train.modalities.ImageModality`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.frozen import FrozenPrefix
from engine.contracts.dataset import Dataset
from engine.contracts.tower import VisionTower
from engine.contracts.training import Rows
from engine.core.devices import to_device
from engine.core.fingerprint import check_point
from engine.errors import ConfigError, DataError
from engine.train.modalities import Group


class NoImages:
    """Rows without images: the losses read texts and teachers."""

    prefix: FrozenPrefix | None = None

    def __init__(self, tower: VisionTower) -> None:
        self.tower, self.start = tower, len(tower.segments())
        self.digests = np.zeros((0, 16), dtype=np.uint8)

    def ahead(self, numbers: Rows) -> None:
        """There is nothing to be read."""

    def groups(self, numbers: Rows) -> tuple[NDArray[np.bool_], list[Group]]:
        """Every row is whole, and there is no group."""
        return np.ones(len(numbers), dtype=bool), []


class Activations(NoImages):
    """Rows with the output of the vision tower instead of an image.

    Args:
        tower: the vision tower, frozen.
        dataset: has ``activations``.
        rows: [N] the data set's index of each usable row.
        device: of the model.

    Raises:
        DataError: the vectors are of another tower, of another point or of another width.
    """

    def __init__(
        self, tower: VisionTower, dataset: Dataset, rows: Rows, device: torch.device
    ) -> None:
        super().__init__(tower)
        assert dataset.activations is not None
        check_point(dataset.name, dataset.activations, tower)
        self._dataset, self._rows, self._device = dataset, rows, device

    def groups(self, numbers: Rows) -> tuple[NDArray[np.bool_], list[Group]]:
        """Every row is whole; one group of their vectors."""
        good, _ = super().groups(numbers)
        vectors = np.stack([self._read(int(self._rows[number])) for number in numbers])
        state = {"pooled": to_device(torch.from_numpy(vectors), self._device)}
        return good, [Group(state, torch.arange(len(numbers)))]

    def _read(self, row: int) -> NDArray[np.float32]:
        vector = self._dataset.activation(row)
        if vector.shape != (self.tower.width,) or not np.isfinite(vector).all():
            raise DataError(
                f"data set `{self._dataset.name}`: the vector of row"
                f" `{self._dataset.record(row).id}` has the shape {vector.shape} or numbers that"
                f" are not finite; expected {self.tower.width} finite numbers"
            )
        return np.asarray(vector, dtype=np.float32)


Sort = Literal["images", "activations", "none"]


def check_trains(sort: Sort, dataset: str, where: str, *, vision: bool) -> None:
    """Refuse a stage that trains the vision tower where no image goes through it.

    Raises:
        ConfigError: it does.
    """
    if vision and sort != "images":
        has = "vectors instead of images" if sort == "activations" else "no images"
        raise ConfigError(
            f"{where}.trains: the vision tower cannot train, since the data set `{dataset}` has"
            f" {has}",
            hint="leave `vision` out of `trains`",
        )
