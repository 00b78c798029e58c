"""Random crops against torchvision's own, in distribution."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from engine.contracts.dataset import Dataset
from engine.contracts.preprocess import SquarePreprocess
from engine.core.config.train_schema import AugmentSettings
from engine.data.views import ViewReader, augmented, random_crop
from engine.train.pixels import PixelReader

SIZES = [(800, 450), (450, 800), (300, 300), (640, 480), (1000, 120), (90, 700), (37, 23)]
SHARES = [(0.6, 1.0), (0.08, 1.0), (0.9, 1.0), (0.2, 0.3)]
COUNT = 1500


def measures(boxes: list[tuple[int, int, int, int]], size: tuple[int, int]) -> dict[str, Any]:
    """Of boxes (left, top, right, bottom): what a random crop is defined by."""
    left, top, right, bottom = np.array(boxes).T
    wide, high = right - left, bottom - top
    free_x, free_y = size[0] - wide, size[1] - high
    return {
        "share": wide * high / (size[0] * size[1]),
        "log ratio": np.log(wide / high),
        "across": left[free_x > 0] / free_x[free_x > 0],
        "down": top[free_y > 0] / free_y[free_y > 0],
    }


def theirs(size: tuple[int, int], share: tuple[float, float]) -> list[tuple[int, int, int, int]]:
    torch.manual_seed(11)
    image = torch.empty(3, size[1], size[0])
    found = []
    for _ in range(COUNT):
        top, left, high, wide = RandomResizedCrop.get_params(image, list(share), [3 / 4, 4 / 3])
        found.append((left, top, left + wide, top + high))
    return found


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_crops_are_distributed_as_torchvisions(
    size: tuple[int, int], share: tuple[float, float]
) -> None:
    rng = random.Random(7)
    boxes = [random_crop(size, share, rng) for _ in range(COUNT)]
    own, other = measures(boxes, size), measures(theirs(size, share), size)
    for name, values in own.items():
        assert len(values) == pytest.approx(len(other[name]), abs=0.1 * COUNT), name
        if len(values) > 50:
            assert ks_2samp(values, other[name]).pvalue > 1e-4, name


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (2, 3), (5000, 7)])
def test_a_crop_is_inside_any_picture(size: tuple[int, int]) -> None:
    rng = random.Random(3)
    for share in SHARES:
        for _ in range(50):
            left, top, right, bottom = random_crop(size, share, rng)
            assert 0 <= left < right <= size[0]
            assert 0 <= top < bottom <= size[1]


class OnePicture(Dataset):
    """A picture whose red is its column and whose green is its row."""

    def __init__(self, width: int, height: int) -> None:
        across = np.linspace(0, 255, width)[None, :].repeat(height, 0)
        down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
        both = np.stack([across, down, np.zeros_like(across)], axis=2)
        self.picture = Image.fromarray(both.round().astype(np.uint8))

    def __len__(self) -> int:
        return 1

    def record(self, index: int) -> Any:
        raise NotImplementedError

    def image(self, index: int) -> Image.Image:
        return self.picture


@pytest.mark.parametrize("resize", ["shorter_side", "crop_first", "squash"])
@pytest.mark.parametrize("size", [(800, 450), (450, 800), (400, 400)], ids=str)
def test_what_reaches_the_tower_has_the_share_of_the_area(
    size: tuple[int, int], resize: Any
) -> None:
    """The tower's way of cutting pictures that are evaluated cuts nothing off a view."""
    views = 40
    settings = AugmentSettings(views=views, crop=(0.6, 1.0))
    reader = PixelReader(
        ViewReader(OnePicture(*size), SquarePreprocess(64, resize=resize), settings, 5),
        np.array([0]),
        1,
    )
    pixels = reader.take(list(range(views)))
    reader.close()
    shares = []
    for each in pixels:
        assert each is not None
        # From the middle of the first pixel to that of the last, so of 63 of 64 parts.
        spans = np.ptp(each[..., :2].astype(float), axis=(0, 1)) / 255 * 64 / 63
        shares.append(spans.prod())
    assert min(shares) > 0.57
    assert max(shares) < (0.78 if size[0] != size[1] else 1.03)
    assert np.ptp(shares) > 0.1


@pytest.mark.parametrize("flip", [True, False])
def test_half_of_the_views_are_mirrored_where_asked(flip: bool) -> None:
    picture = OnePicture(60, 40).picture
    settings = AugmentSettings(crop=(0.5, 1.0), flip=flip)
    views = [np.asarray(augmented(picture, settings, seed)) for seed in range(200)]
    mirrored = sum(int(v[0, 0, 0]) > int(v[0, -1, 0]) for v in views)
    assert 70 < mirrored < 130 if flip else mirrored == 0
