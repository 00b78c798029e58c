"""The calibration set of an int8 export: inputs on which it is compared with the float32 one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from engine.contracts.preprocess import to_batch, to_pixels
from engine.contracts.state import pad_tokens
from engine.data.picture_folder import PictureFolder
from engine.errors import DataError
from engine.exchange.source import Source

FEWEST = 8
"""Inputs; with fewer the nearest neighbour says nothing."""

_MADE_TEXTS, _MADE_PICTURES, _MAX_PICTURES = 256, 48, 512
_BATCH = 16
_ADJECTIVES = (
    "большой", "старый", "красный", "деревянный", "быстрый", "тихий", "a small", "a white",
    "an old", "a wooden", "a bright", "a broken",
)  # fmt: skip
_NOUNS = (
    "дом", "автомобиль", "кот", "мост", "стол", "лес", "самолёт", "чайник", "город", "корабль",
    "медведь", "велосипед", "house", "car", "dog", "river", "lamp", "guitar", "flower", "train",
    "mountain", "bottle", "horse", "clock",
)  # fmt: skip


def text_feeds(source: Source, texts: Sequence[str] | None) -> list[dict[str, NDArray[np.generic]]]:
    """Texts as batches of ``ids`` and ``mask``; ``None``: short texts that are made up.

    Raises:
        DataError: fewer than 8 different texts.
    """
    chosen = list(dict.fromkeys(_texts(source) if texts is None else texts))
    _check(len(chosen), "texts")
    encoded = source.built.tokenizer.encode(chosen, source.text_settings.max_tokens)
    rows = sorted({tuple(row) for row in encoded}, key=lambda row: (len(row), row))
    _check(len(rows), "texts that the tokenizer can tell apart")
    feeds = []
    for start in range(0, len(rows), _BATCH):
        batch = pad_tokens(rows[start : start + _BATCH], source.built.tokenizer.pad_id)
        feeds.append({"ids": batch["ids"].numpy(), "mask": batch["mask"].numpy()})
    return feeds


def picture_feeds(source: Source, pictures: Path | None) -> list[dict[str, NDArray[np.generic]]]:
    """A folder's first pictures as batches of ``pixels``; ``None``: pictures that are made up.

    Raises:
        DataError: fewer than 8 pictures.
        BrokenImageError: one does not decode.
    """
    preprocess = source.built.model.vision.preprocess
    if pictures is None:
        images = made_pictures(_MADE_PICTURES, max(32, preprocess.size))
    else:
        folder = PictureFolder(pictures)
        _check(len(folder), "pictures")
        images = [folder.image(index) for index in range(min(len(folder), _MAX_PICTURES))]
    pixels = [to_pixels(image, preprocess) for image in images]
    batches: list[Tensor] = [
        to_batch(pixels[start : start + _BATCH], preprocess, torch.device("cpu"))
        for start in range(0, len(pixels), _BATCH)
    ]
    return [{"pixels": batch.float().numpy()} for batch in batches]


def _check(count: int, what: str) -> None:
    if count < FEWEST:
        raise DataError(
            f"the calibration set has {count} {what}; {FEWEST} at least are needed",
            hint="give more, or leave the option out: a set is then made up",
        )


def _texts(source: Source) -> list[str]:
    words = [f"{adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS]
    templates = source.built.config.zero_shot.templates
    chosen = random.Random(0).sample(words, _MADE_TEXTS - len(_NOUNS))
    framed = [templates[i % len(templates)].replace("{}", w) for i, w in enumerate(chosen)]
    return [*_NOUNS, *framed]


def made_pictures(count: int, size: int) -> list[Image.Image]:
    """Pictures of soft patches in many colours and scales, as photographs have: 1/f noise.

    White noise would not do: the mean over any patch of it is grey, and all pictures are one.
    """
    random_ = np.random.default_rng(0)
    found = []
    for index in range(count):
        picture = np.zeros((size, size, 3), np.float32)
        for cells in (1, 2, 4, 8, 16, 32):
            patch = random_.normal(size=(cells, cells, 3)).astype(np.float32)
            layers = [
                Image.fromarray(patch[..., c]).resize((size, size), Image.Resampling.BICUBIC)
                for c in range(3)
            ]
            picture += np.stack([np.asarray(each) for each in layers], axis=-1) / cells**0.5
        scaled = 128 + picture * (20 + 10 * (index % 6))
        found.append(Image.fromarray(scaled.clip(0, 255).astype(np.uint8)))
    return found
