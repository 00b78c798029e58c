"""A picture is cut and scaled to a square: what :class:`SquarePreprocess` does.

An ONNX export takes this module along, so it needs nothing but Pillow and numpy.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ELONGATED = 16
"""From this ratio of sides only the kept middle is scaled: a picture of 1 x 60,000 pixels would
need 9 GB otherwise. The numbers are the same up to rounding in the last place."""


class Square(Protocol):
    """What is known of the square; ``SquarePreprocess`` is this, and so is what an export holds."""

    @property
    def size(self) -> int:
        """Its side, in pixels."""

    @property
    def resize(self) -> str:
        """``shorter_side``, ``crop_first`` or ``squash``."""

    @property
    def interpolation(self) -> str:
        """``bicubic`` or ``bilinear``."""

    @property
    def crop_pct(self) -> float:
        """Share of the scaled side that the square keeps, above 0, at most 1."""


def square(image: Image.Image, preprocess: Square) -> NDArray[np.uint8]:
    """Cut and scale an RGB picture of any size -> [S, S, 3] uint8.

    ``shorter_side`` and ``squash`` give bit for bit what open_clip's ``image_transform`` gives
    before ToTensor; ``crop_first`` what torchvision's ``RandomResizedCrop(S, scale=(1, 1),
    ratio=(1, 1))`` gives where it falls back to the centre (ruCLIP's package). That one takes a
    place at random in the one or two pixels of a picture that is almost square; here it is always
    the centre. With ``crop_pct`` below 1 the picture is scaled to a larger square, of which the
    centre is cut out: bit for bit what timm's ``transforms_imagenet_eval`` gives.

    Raises:
        ValueError: the picture is not RGB (``engine.data.pictures.rgb`` makes it that).
    """
    if image.mode != "RGB":
        raise ValueError(f"a picture of mode {image.mode}; RGB is expected")
    size, side = preprocess.size, scaled_side(preprocess)
    mode = Image.Resampling[preprocess.interpolation.upper()]
    width, height = image.size
    short, long = min(image.size), max(image.size)
    if preprocess.resize == "crop_first":
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    elif preprocess.resize == "shorter_side" and long >= _ELONGATED * short:
        x, y = (width - short) / 2, (height - short) / 2
        image = image.resize((side, side), mode, (x, y, x + short, y + short))
    elif preprocess.resize == "shorter_side":
        scaled = int(side * long / short)
        width, height = (side, scaled) if width <= height else (scaled, side)
        return np.array(_centre(_resize(image, (width, height), mode), size))
    return np.array(_centre(_resize(image, (side, side), mode), size))


def scaled_side(preprocess: Square) -> int:
    """The side to which a picture is scaled, in pixels: at least the square's."""
    return max(preprocess.size, int(preprocess.size / preprocess.crop_pct))


def _centre(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    width, height = image.size
    # round() takes halves to the even number, as torchvision's CenterCrop does.
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _resize(image: Image.Image, size: tuple[int, int], mode: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, mode)
