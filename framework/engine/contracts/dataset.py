"""Datasets: images with queries, or with classes. Nothing here imports torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.contracts.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image


class DatasetSettings(Settings):
    """Base of every dataset's settings."""


@dataclass(frozen=True)
class Record:
    """One image's row. No two rows of a data set have one id.

    Attributes:
        id: the image's name within its data set (the contest's image id).
        queries: the texts that led people to it; may be empty where there are classes only.
        label: index into ``dataset.classes``, or ``None`` where it is not known.
        weight: how much the row counts in training, 0 or more; losses read it as ``pair.weight``.
    """

    id: str
    queries: tuple[str, ...] = ()
    label: int | None = None
    weight: float = 1.0


class Dataset(ABC):
    """A sequence of records, each with its image.

    A dataset is read from several processes at once: it must survive ``fork`` and ``pickle``, and
    reading row i always gives the same row.

    Attributes:
        name: short name for tables (the folder's name, say).
        classes: the class names; empty where the data have no classes.
    """

    name: str
    classes: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """Row ``index``, 0 <= index < len(self), without reading the image.

        Raises:
            IndexError: there is no row ``index``.
        """

    @abstractmethod
    def image(self, index: int) -> Image:
        """The image of row ``index``, decoded whole, RGB.

        Raises:
            BrokenImageError: it is missing or does not decode; says which and why.
            IndexError: there is no row ``index``.
        """

    def texts(self) -> Iterator[str]:
        """Every query in order; where there are none, the class name of every labelled image."""
        for index in range(len(self)):
            row = self.record(index)
            if row.queries:
                yield from row.queries
            elif row.label is not None:
                yield self.classes[row.label]
