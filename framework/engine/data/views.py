"""A picture of a data set becomes pixels: whole as it is evaluated, or one of some random crops.

Threads and processes read by this; nothing here imports torch.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from PIL import Image

from engine.contracts.dataset import Dataset
from engine.contracts.preprocess import Pixels, Preprocess, to_pixels, wanted_side
from engine.core.config.train_schema import AugmentSettings
from engine.data.pictures import rgb
from engine.data.seeds import seed_of
from engine.errors import BrokenImageError, PluginError


@dataclass(frozen=True)
class ViewReader:
    """Reads views of the pictures of a data set.

    Attributes:
        dataset: where the pictures are; read from several threads at once.
        preprocess: the vision tower's.
        augment: the views; ``None``: one, as it is evaluated.
        seed: of the views.
    """

    dataset: Dataset
    preprocess: Preprocess
    augment: AugmentSettings | None = None
    seed: int = 0

    @property
    def side(self) -> int:
        """How long the shorter side of a picture must be, in pixels."""
        side = wanted_side(self.preprocess)
        if self.augment is None:
            return side
        # The smallest crop has this share of the area, and its sides may be as 3 to 4.
        return math.ceil(side / math.sqrt(self.augment.crop[0] * _RATIO[0]))

    def read(self, index: int, view: int) -> Pixels | str:
        """The pixels of a view, [S, S, 3] uint8; where the picture is broken, the reason.

        Raises:
            PluginError: the tower's preprocessing does not keep its contract.
        """
        try:
            image = rgb(self.dataset.image_for(index, self.side))
        except BrokenImageError as error:
            return error.reason
        except PluginError:
            raise
        except Exception as error:  # a third party's reader: one image stops no run
            return f"{type(error).__name__}: {error}"
        if self.augment is None:
            return to_pixels(image, self.preprocess)
        seed = seed_of(self.seed, "view", index, view)
        return to_pixels(augmented(image, self.augment, seed), self.preprocess, crop=True)


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
