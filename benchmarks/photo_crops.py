"""Crops of the photographs that packages ship: calibration pictures of fit.py and photos_fit.py.

None of them is among the photographs that are scored.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from engine.contracts import Dataset
from engine.core.registry import default_registry


def sample_photos() -> Dataset:
    """The photographs of scikit-image and scikit-learn."""
    plugin = default_registry().get("dataset", "sample_photos")
    dataset: Dataset = plugin.load()(plugin.load_settings()())
    return dataset


def crops(count: int) -> Iterator[Image.Image]:
    """Random crops, RGB, some of them mirrored; the same ones in every run."""
    dataset, draw = sample_photos(), np.random.default_rng(0)
    for number in range(count):
        image = dataset.image(number % len(dataset)).convert("RGB")
        side = int(min(image.size) * draw.uniform(0.4, 1))
        left, top = (int(draw.integers(0, edge - side + 1)) for edge in image.size)
        image = image.crop((left, top, left + side, top + side))
        if draw.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        yield image
