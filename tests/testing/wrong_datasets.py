"""Datasets with one fault each, and a right one."""

from __future__ import annotations

import random
import tempfile
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.contracts import (
    ActivationPoint,
    Dataset,
    Record,
)
from engine.errors import BrokenImageError


class RightDataset(Dataset):
    """Seven coloured squares."""

    name = "squares"
    classes = ("красный", "синий")

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    def __len__(self) -> int:
        return 7

    def record(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Record(f"square {index}", (f"квадрат {index}",), index % 2)

    def image(self, index: int) -> Image.Image:
        label = self.record(index).label
        return Image.new("RGB", (8, 8), (200 - 10 * index, 0, 0) if label else (0, 0, 200))


class TextsAlone(RightDataset):
    """Two languages and no image."""

    has_images = False

    def record(self, index: int) -> Record:
        row = super().record(index)
        texts = (*row.queries, f"square {index}")
        return Record(row.id, texts, languages=("ru", "en"), text_weights=(1.0, 0.5))


class OneLanguage(TextsAlone):
    """Says the language of its first text alone."""

    def record(self, index: int) -> Record:
        return replace(super().record(index), languages=("ru",))


class Vectors(RightDataset):
    """A vector instead of an image."""

    has_images = False
    activations = ActivationPoint(4, "0" * 32)

    def activation(self, index: int) -> NDArray[np.float32]:
        self.record(index)
        return np.full(4, index, np.float32)


class WiderThanItSays(Vectors):
    """Five numbers instead of four."""

    def activation(self, index: int) -> NDArray[np.float32]:
        return np.append(super().activation(index), np.float32(1))


class RowsChange(RightDataset):
    """Draws its texts again."""

    def record(self, index: int) -> Record:
        row = super().record(index)
        return Record(row.id, (random.choice(["квадрат", "фигура", "пятно", "ящик"]),), row.label)


class PixelsChange(RightDataset):
    """Noise on every look."""

    def image(self, index: int) -> Image.Image:
        image = super().image(index)
        image.putpixel((0, 0), (random.randrange(256), random.randrange(256), 0))
        return image


class DoesNotPickle(RightDataset):
    """Holds a function that has no name."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.shade = lambda index: 200 - 10 * index


class SharesAFile(RightDataset):
    """One open file for all its rows, and for all processes."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - that is the fault
        for index in range(len(self)):
            self.file.write(bytes([index]) * 100_000)

    def image(self, index: int) -> Image.Image:
        self.record(index)
        self.file.seek(100_000 * index)
        time.sleep(0.001)
        parts = [self.file.read(1000) for _ in range(100)]
        return Image.frombytes("L", (500, 200), b"".join(parts).ljust(100_000)).convert("RGB")

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["settings"])  # type: ignore[misc]


class SameIds(RightDataset):
    """Counts its squares by class."""

    def record(self, index: int) -> Record:
        row = super().record(index)
        return Record(f"square {row.label}", row.queries, row.label)


class LabelBeyond(RightDataset):
    """More labels than classes."""

    def record(self, index: int) -> Record:
        row = super().record(index)
        return Record(row.id, row.queries, index % 3)


class Grey(RightDataset):
    """Grey pictures."""

    def image(self, index: int) -> Image.Image:
        return super().image(index).convert("L")


class NoEnd(RightDataset):
    """Begins again where it ends."""

    def record(self, index: int) -> Record:
        return super().record(index % len(self))


class AllBroken(RightDataset):
    """Every picture is missing."""

    def image(self, index: int) -> Image.Image:
        self.record(index)
        raise BrokenImageError(f"square {index} is missing")


class OtherTexts(RightDataset):
    """Its texts are not those of its rows."""

    def texts(self) -> Any:
        return iter(["квадрат"])
