"""Datasets: images with texts or classes, activations with texts, texts alone. No torch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from engine.contracts.settings import Settings
from engine.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
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
        languages: the language of each query (BCP 47: ``"ru"``, ``"en"``); empty where they are
            not known. A config may choose by it what the text encoder reads
            (``train.languages``) and what a teacher reads.
        text_weights: how much each query counts where a teacher reads several of them, above 0;
            empty: all the same.
    """

    id: str
    queries: tuple[str, ...] = ()
    label: int | None = None
    weight: float = 1.0
    languages: tuple[str, ...] = ()
    text_weights: tuple[float, ...] = ()

    def texts_in(self, language: str) -> tuple[tuple[str, float], ...]:
        """The queries in one language, each with its weight."""
        weights = self.text_weights or (1.0,) * len(self.queries)
        return tuple(
            (text, weight)
            for text, weight, own in zip(self.queries, weights, self.languages, strict=False)
            if own == language
        )


@dataclass(frozen=True)
class ActivationPoint:
    """Where the vectors of a data set stand that has them instead of images.

    Attributes:
        width: numbers of a vector.
        fingerprint: of the tower that gave them (``engine.core.fingerprint.tower_fingerprint``).
            Vectors of another tower are refused.
        point: the output of the tower, by the name in its ``outputs``.
        modality: ``"image"``: of the vision tower.
    """

    width: int
    fingerprint: str
    point: str = "pooled"
    modality: Literal["image"] = "image"


class Dataset(ABC):
    """A sequence of records, each with its image.

    Two other sorts say so: one with ``activations`` has a vector instead of an image, one whose
    ``has_images`` is false has texts alone. Neither needs :meth:`image`.

    A dataset is read from several processes at once: it must survive ``fork`` and ``pickle``, and
    reading row i always gives the same row.

    Attributes:
        name: short name for tables (the folder's name, say).
        classes: the class names; empty where the data have no classes.
        has_images: whether rows have images.
        activations: where the vectors stand that rows have instead of images.
    """

    name: str
    classes: tuple[str, ...] = ()
    has_images: bool = True
    activations: ActivationPoint | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """Row ``index``, 0 <= index < len(self), without reading the image.

        Raises:
            IndexError: there is no row ``index``.
        """

    def image(self, index: int) -> Image:
        """The image of row ``index``, decoded whole, RGB.

        Raises:
            BrokenImageError: it is missing or does not decode; says which and why.
            DataError: the data set has no images (unless this is overridden).
            IndexError: there is no row ``index``.
        """
        raise DataError(f"data set `{self.name}` has no images")

    def image_for(self, index: int, side: int) -> Image:
        """The image of row ``index`` for a use that needs its shorter side only so long.

        Training asks for it. It may be smaller than :meth:`image` gives it, which costs less to
        decode, and never smaller than ``side``, unless the image is.

        Args:
            index: of the row.
            side: in pixels.
        """
        return self.image(index)

    def shards(self) -> NDArray[np.int64] | None:
        """[shards + 1], where the rows of each shard begin, the last number is ``len(self)``.

        Within a shard, rows in order cost least to read. ``None``: the data are not in shards.
        """
        return None

    def activation(self, index: int) -> NDArray[np.float32]:
        """The vector of row ``index``, [activations.width] float32, every number finite.

        Raises:
            DataError: the data set has no activations (unless this is overridden).
            IndexError: there is no row ``index``.
        """
        raise DataError(f"data set `{self.name}` has no activations")

    @classmethod
    def fingerprint(cls, settings: Any) -> str | None:
        """Names what the rows hold, found without reading every row: of a file's bytes, say.

        ``engine data prepare`` keeps what it computes under this name, so another text, id, label,
        weight or order must give another name. Pictures do not count.

        Args:
            settings: the plugin's settings, an instance of its own class.

        Returns:
            Any text; ``None``: only reading all rows can tell.

        Raises:
            DataError: the data are not there.
        """
        return None

    def index(self) -> Mapping[str, NDArray[Any]]:
        """What took long to find out when the data set was opened, as arrays without objects.

        ``engine data prepare`` keeps them; :meth:`from_index` gets them back, read-only and mapped
        into memory that processes share.
        """
        return {}

    @classmethod
    def from_index(cls, settings: Any, index: Mapping[str, NDArray[Any]]) -> Self:
        """Open the data set with what :meth:`index` gave for equal settings and fingerprint."""
        made: Any = cls
        opened: Self = made(settings)
        return opened

    def texts(self) -> Iterator[str]:
        """Every query in order; where there are none, the class name of every labelled image."""
        for index in range(len(self)):
            row = self.record(index)
            if row.queries:
                yield from row.queries
            elif row.label is not None:
                yield self.classes[row.label]
