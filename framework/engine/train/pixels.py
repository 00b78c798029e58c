"""Pictures of the training data as pixels: read ahead by threads, read once where there is room."""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

import numpy as np
from PIL import Image

from engine.cache.budget import Budget
from engine.contracts.dataset import Dataset
from engine.contracts.preprocess import Pixels, Preprocess, to_pixels
from engine.contracts.training import Rows
from engine.core.config.train_schema import AugmentSettings
from engine.data.pictures import rgb
from engine.errors import BrokenImageError
from engine.evaluate.images import available_cores
from engine.train.data import seed_of


class PixelFile:
    """Pictures in an unnamed file: they are gone with the process, so they are never stale.

    Args:
        budget: what it may take.
        count: pictures there may be.
        side: of a picture, in pixels.
    """

    def __init__(self, budget: Budget, count: int, side: int) -> None:
        self._budget, self._shape = budget, (side, side, 3)
        self._size = side * side * 3
        self._slots = np.full(count, -1, dtype=np.int64)
        self._next, self._full = 0, False
        self._file: IO[bytes] | None = None
        try:
            self._file = tempfile.TemporaryFile(dir=budget.folder)  # noqa: SIM115 - kept open
        except OSError:  # a full disk, a read-only folder
            self._full = True

    def __contains__(self, number: int) -> bool:
        return bool(self._slots[number] >= 0)

    def read(self, number: int) -> Pixels | None:
        """A picture, [side, side, 3] uint8, or ``None``."""
        slot = self._slots[number]
        if slot < 0 or self._file is None:
            return None
        data = os.pread(self._file.fileno(), self._size, int(slot) * self._size)
        return np.frombuffer(data, np.uint8).reshape(self._shape)

    def write(self, number: int, pixels: Pixels) -> None:
        """Keep a picture where there is room; a full disk is not an error."""
        if self._full or self._file is None or self._slots[number] >= 0:
            return
        self._full = not self._budget.take(self._size)
        if self._full:
            return
        try:
            written = os.pwrite(self._file.fileno(), pixels.tobytes(), self._next * self._size)
        except OSError:
            written = 0
        if written == self._size:
            self._slots[number] = self._next
            self._next += 1
        else:
            self._full = True
            self._budget.give_back(self._size)

    def close(self) -> None:
        """Free the disk."""
        if self._file is not None:
            self._file.close()
        self._budget.give_back(self._next * self._size)


class PixelReader:
    """The pixels of views of pictures, by number: ``row * views + view``.

    Args:
        dataset: where the pictures are; read from several threads at once.
        rows: [N] the data set's index of each usable row.
        preprocess: the vision tower's.
        augment: the views; ``None``: one, as it is evaluated.
        seed: of the views.
        workers: threads; ``None``: one a core, at most 8.
        file: keeps what was read; ``None``: nothing is kept.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Rows,
        preprocess: Preprocess,
        augment: AugmentSettings | None,
        seed: int,
        workers: int | None,
        file: PixelFile | None = None,
    ) -> None:
        self._dataset, self._rows, self._preprocess = dataset, rows, preprocess
        self._augment, self._seed, self._file = augment, seed, file
        self.views = 1 if augment is None else augment.views
        self._pool = ThreadPoolExecutor(workers or min(8, available_cores()), "images")
        self._ahead: dict[int, Future[Pixels | None]] = {}
        self.broken: dict[str, str] = {}

    def ahead(self, numbers: Sequence[int]) -> None:
        """Begin to read what will be asked for soon."""
        for number in numbers:
            if number not in self._ahead and (self._file is None or number not in self._file):
                self._ahead[number] = self._pool.submit(self._read, number)

    def take(self, numbers: Sequence[int]) -> list[Pixels | None]:
        """The pixels of each, [S, S, 3] uint8; ``None`` where the picture is broken."""
        self.ahead(numbers)
        found = {n: self._taken(n) for n in dict.fromkeys(numbers)}
        return [found[number] for number in numbers]

    def _taken(self, number: int) -> Pixels | None:
        future = self._ahead.pop(number, None)
        if future is not None:
            return future.result()
        assert self._file is not None
        return self._file.read(number)

    def _read(self, number: int) -> Pixels | None:
        index = int(self._rows[number // self.views])
        try:
            image = rgb(self._dataset.image(index))
        except BrokenImageError as error:
            self._lost(index, error.reason)
            return None
        except Exception as error:  # a third party's reader: one image stops no run
            self._lost(index, f"{type(error).__name__}: {error}")
            return None
        if self._augment is None:
            return to_pixels(image, self._preprocess)
        seed = seed_of(self._seed, "view", index, number % self.views)
        return to_pixels(augmented(image, self._augment, seed), self._preprocess, crop=True)

    def _lost(self, index: int, reason: str) -> None:
        self.broken[self._dataset.record(index).id] = reason

    def drop(self, numbers: Sequence[int]) -> None:
        """Forget what was read ahead and is not needed any more."""
        for number in numbers:
            future = self._ahead.pop(number, None)
            if future is not None:
                future.cancel()

    def keep(self, numbers: Sequence[int], pixels: Sequence[Pixels]) -> None:
        """Keep pictures for the next time, in the main thread."""
        if self._file is not None:
            for number, each in zip(numbers, pixels, strict=True):
                self._file.write(number, each)

    def close(self) -> None:
        """Stop reading."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._file is not None:
            self._file.close()


_RATIO = (3 / 4, 4 / 3)
"""Least and most width over height of a random crop, as in torchvision and open_clip."""
_TRIES = 10


def random_crop(
    size: tuple[int, int], share: tuple[float, float], rng: random.Random
) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) of a random crop.

    Its share of the area is uniform, the logarithm of its width over height too, and its place.
    Where that does not fit into the picture ten times, the box is the largest one in the middle
    whose shape is allowed; ``share`` is not kept then.

    Source: ``torchvision.transforms.RandomResizedCrop.get_params``, with another stream of numbers.

    Args:
        size: width and height of the picture, in pixels.
        share: least and most share of the area.
        rng: the source of randomness.
    """
    width, height = size
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*share)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = rng.randint(0, width - wide), rng.randint(0, height - high)
            return left, top, left + wide, top + high
    wide, high = width, height
    if width < height * _RATIO[0]:
        high = round(width / _RATIO[0])
    elif width > height * _RATIO[1]:
        wide = round(height * _RATIO[1])
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


def augmented(image: Image.Image, settings: AugmentSettings, seed: int) -> Image.Image:
    """One view of a picture: a random crop, maybe mirrored.

    The whole crop is to be scaled to the tower's square, as torchvision and open_clip do. Cutting
    it once more would keep less than the share of the area that was asked for.

    Args:
        image: any size.
        settings: what share of the area, and whether half of the views are mirrored.
        seed: of this view.
    """
    rng = random.Random(seed)
    image = image.crop(random_crop(image.size, settings.crop, rng))
    mirrored = settings.flip and rng.random() < 0.5
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
