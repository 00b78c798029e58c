"""Right and wrong teachers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.contracts.teacher import Teacher, TeacherSettings

_COUNT = count()


class RightTeacher(Teacher):
    """A random direction for each text."""

    width = 6

    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__(settings)
        self.seed = 0

    def identity(self) -> str:
        return "right"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        seeds = [zlib.crc32(text.encode("utf-8", "surrogatepass")) for text in texts]
        rows = [
            np.random.default_rng([self.seed, one]).standard_normal(self.width) for one in seeds
        ]
        return np.array(rows, np.float32).reshape(len(texts), self.width)


class NoWidth(RightTeacher):
    width = None  # type: ignore[assignment]


class GivesSound(RightTeacher):
    gives = frozenset({"sound"})


class DoubleTeacher(RightTeacher):
    def encode_texts(self, texts: Sequence[str]) -> Any:
        return super().encode_texts(texts).astype(np.float64)


class ChokesOnNothing(RightTeacher):
    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = super().encode_texts(texts)
        found[[not text for text in texts]] = np.nan
        return found


class CentresItsCall(RightTeacher):
    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        found = super().encode_texts(texts)
        return found - found.mean(axis=0)


class NewEachTime(RightTeacher):
    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__(settings)
        self.number = next(_COUNT)

    def identity(self) -> str:
        return f"teacher {self.number}"


class HidesItsSeed(RightTeacher):
    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__(settings)
        self.seed = next(_COUNT)


class ReadsPicturesToo(RightTeacher):
    def encode_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        return np.zeros((len(images), self.width), np.float32)
