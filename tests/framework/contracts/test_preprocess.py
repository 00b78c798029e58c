"""A tower's own preprocessing: four members are enough, and what it gives is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contracts import CropPreprocess, PortablePreprocess, Preprocess, SquarePreprocess
from engine.contracts.preprocess import to_batch, to_pixels
from engine.errors import PluginError


class Own:
    """The four members, and nothing of Engine's."""

    size = 8

    def to_array(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((self.size, self.size)))

    def to_tensor(self, batch: torch.Tensor) -> torch.Tensor:
        return batch.permute(0, 3, 1, 2).float() / 255

    def identity(self) -> str:
        return "own"


PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8))


def test_four_members_are_a_preprocess() -> None:
    own = Own()
    assert isinstance(own, Preprocess)
    assert not isinstance(own, CropPreprocess)
    assert not isinstance(own, PortablePreprocess)
    assert isinstance(SquarePreprocess(8), PortablePreprocess)
    pixels = to_pixels(PICTURE, own)
    assert np.array_equal(to_pixels(PICTURE, own, crop=True), pixels)
    assert to_batch([pixels, pixels], own).shape == (2, 3, 8, 8)


def test_a_crop_keeps_its_margins_where_the_preprocessing_has_a_way_for_it() -> None:
    usual = SquarePreprocess(8)
    crop = to_pixels(PICTURE, usual, crop=True)
    assert np.array_equal(crop, to_pixels(PICTURE, replace(usual, resize="squash")))
    assert not np.array_equal(crop, to_pixels(PICTURE, usual))


WRONG: dict[str, Any] = {
    "[4, 4, 3] of uint8": np.zeros((4, 4, 3), np.uint8),
    "[8, 8] of uint8": np.zeros((8, 8), np.uint8),
    "[8, 8, 3] of float32": np.zeros((8, 8, 3), np.float32),
    "a Image": PICTURE,
}


@pytest.mark.parametrize("words", WRONG)
def test_pixels_of_another_form_are_the_plugins_fault(words: str) -> None:
    class Wrong(Own):
        def to_array(self, image: Image.Image) -> Any:
            return WRONG[words]

    with pytest.raises(PluginError, match=r"Wrong.to_array gives .*8, 8, 3") as raised:
        to_pixels(PICTURE, Wrong())
    assert words in str(raised.value)


@pytest.mark.parametrize("make", [
    lambda batch: batch.permute(0, 3, 1, 2), lambda batch: batch.float(), lambda batch: None,
    lambda batch: batch.permute(0, 3, 1, 2).float().to("meta"),
], ids=["uint8", "channels last", "nothing", "another device"])  # fmt: skip
def test_tensors_of_another_form_are_the_plugins_fault(make: Any) -> None:
    class Wrong(Own):
        def to_tensor(self, batch: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = make(batch)
            return found

    with pytest.raises(PluginError, match=r"Wrong.to_tensor gives .*\[1, 3, 8, 8\]"):
        to_batch([to_pixels(PICTURE, Own())], Wrong())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_floats_are_made_on_the_device_of_the_batch(device: str) -> None:
    batch = torch.zeros(2, 8, 8, 3, dtype=torch.uint8, device=device)
    found = SquarePreprocess(8).to_tensor(batch)
    assert (found.device.type, found.dtype, found.shape) == (device, torch.float32, (2, 3, 8, 8))
    assert batch.dtype == torch.uint8


def test_the_identity_names_every_setting() -> None:
    one = SquarePreprocess(8)
    others: list[Any] = [
        {"size": 9}, {"mean": (0.0, 0.0, 0.0)}, {"std": (1.0, 1.0, 1.0)}, {"resize": "squash"},
        {"interpolation": "bilinear"},
    ]  # fmt: skip
    assert len({one.identity(), *(replace(one, **other).identity() for other in others)}) == 6
    assert SquarePreprocess(8).identity() == one.identity()
