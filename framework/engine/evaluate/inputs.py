"""What a user gives to a model: pictures of any kind, texts, class names; checked at the door."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from engine.contracts.dataset import Record
from engine.data.pictures import Picture, is_file, problem_of, read_picture
from engine.errors import BrokenImageError, DataError
from engine.evaluate.images import Broken

_PICTURES = (
    "an image is a path, the bytes of a file, a file open in mode 'rb', a PIL.Image, or an array"
    " [H, W], [H, W, 3] or [H, W, 4] of uint8, uint16, bool or floats"
)


class Pictures:
    """Pictures as rows to be read.

    Args:
        images: one picture or several; an array of four dimensions is a batch of them.

    Raises:
        DataError: none, or something that cannot be a picture.
    """

    def __init__(self, images: Iterable[Picture] | Picture) -> None:
        one = is_file(images) or isinstance(
            images, (Image.Image, str, os.PathLike, bytes, bytearray, memoryview)
        )
        if isinstance(images, np.ndarray):
            one = images.ndim < 4
        if not one and not isinstance(images, Iterable):
            raise DataError(f"images are expected, not {type(images).__name__}", hint=_PICTURES)
        self.items: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
        if not self.items:
            raise DataError("the list of images is empty")
        for index, item in enumerate(self.items):
            problem = problem_of(item)
            if problem:
                raise DataError(f"image {index}: {problem}", hint=_PICTURES)

    def __len__(self) -> int:
        return len(self.items)

    def record(self, index: int) -> Record:
        """The row's name: a path, or the picture's place in the list."""
        item = self.items[index]
        return Record(str(item) if isinstance(item, (str, os.PathLike)) else f"image {index}")

    def image(self, index: int) -> Image.Image:
        """The picture, RGB.

        Raises:
            BrokenImageError: it cannot be read.
        """
        return read_picture(self.items[index])


def refuse_broken(broken: Sequence[Broken], count: int) -> None:
    """Raise where pictures could not be read, and name them.

    Raises:
        BrokenImageError: ``broken`` is not empty.
    """
    if not broken:
        return
    shown = "\n".join(f"  {each.id}: {each.reason}" for each in broken[:8])
    more = f"\n  and {len(broken) - 8} more" if len(broken) > 8 else ""
    raise BrokenImageError(
        f"{len(broken)} of {count} images cannot be read:\n{shown}{more}", hint="leave them out"
    )


def check_texts(texts: object, what: str = "texts") -> Sequence[str]:
    """``texts`` as a list of texts.

    Raises:
        DataError: something else than a sequence of texts.
    """
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise DataError(
            f"{what} are expected as a list, not as {type(texts).__name__}",
            hint="write a list: ['кошка', 'собака']",
        )
    found = list(texts)
    for text in found:
        if not isinstance(text, str):
            raise DataError(f"{what}: {text!r} is a {type(text).__name__}, not a text")
    return found


def check_classes(classes: object) -> tuple[str, ...]:
    """Class names, each once and not empty.

    Raises:
        DataError: none, an empty one, one twice, or something that is not a text.
    """
    names = tuple(check_texts(classes, "class names"))
    if not names:
        raise DataError(
            "the list of classes is empty", hint="zero-shot classification needs class names"
        )
    blank = [i for i, name in enumerate(names) if not name.strip()]
    if blank:
        raise DataError(f"class name {blank[0]} is empty", hint="give every class a name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"class names are given twice: {', '.join(map(repr, twice[:5]))}",
            hint="each class once",
        )
    return names
