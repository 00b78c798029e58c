"""No answer from numbers that are not finite: of either tower, of one image, of one class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from engine.contracts import Dataset
from engine.errors import DataError
from engine.evaluate.predictor import Predictor
from engine.evaluate.runner import run
from engine.evaluate.vectors import unit_rows

Make = Callable[..., Dataset]
Colours = dict[str, Image.Image]
NAMES = ["красный", "синий", "белый"]


def spoil_text(predictor: Predictor, value: float) -> None:
    with torch.no_grad():
        predictor.model.text.table.weight[3, 1] = value  # type: ignore[union-attr,operator,index]


class Spoiled(nn.Module):
    """A projection that spoils the rows where the colour is blue."""

    reads: frozenset[str] = frozenset()
    out_width = 3

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rows = state["pooled"].clone()
        blue = (rows[:, 2] > 0.5) & (rows[:, 0] < 0)
        rows[blue, 1] = self.value
        return {**state, "embedding": rows}


VALUES = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])


@VALUES
@pytest.mark.parametrize("average", ["normalised", "raw"])
def test_the_class_is_named(predictor: Predictor, average: str, value: float) -> None:
    spoil_text(predictor, value)
    zero_shot = predictor.config.zero_shot.model_copy(update={"average": average})
    predictor.config.zero_shot = zero_shot
    red = Image.new("RGB", (8, 8), "red")
    assert predictor.classify(red, NAMES[::2])[0][0].name == "красный"
    for call in (predictor.class_vectors, predictor.classifier, predictor.encode_texts,
                 lambda names: predictor.classify(red, names)):  # fmt: skip
        with pytest.raises(DataError, match=r"1 of 3 texts.*not finite.*text `синий`"):
            call(NAMES)  # type: ignore[operator]


@VALUES
def test_the_image_is_named(
    predictor: Predictor, pictures: Make, colours: Colours, value: float
) -> None:
    predictor.model.vision_projection = Spoiled(value)  # type: ignore[assignment]
    images = [colours[name] for name in NAMES]
    assert predictor.classify(images[::2], NAMES)[1][0].name == "белый"
    for size in (1, 8):
        with pytest.raises(DataError, match=r"images.*not finite.*image `image 1`"):
            predictor.classify(images, NAMES, batch_size=size)
    with pytest.raises(DataError, match="image `image 1`"):
        predictor.encode_images(images)
    rows = [(f"id {name}", colours[name], None) for name in NAMES]
    with pytest.raises(DataError, match=r"image `id синий`"):
        run(predictor, pictures("d", NAMES, rows))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e3, -1e3])
def test_the_scale(predictor: Predictor, value: float) -> None:
    with torch.no_grad():
        predictor.model.logit_scale.fill_(value)
    with pytest.raises(DataError, match="logit_scale is"):
        predictor.classify(Image.new("RGB", (8, 8), "red"), NAMES)


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e-42])
def test_large_and_small_embeddings_have_a_direction(predictor: Predictor, factor: float) -> None:
    """Squares that overflow would give a vector of zeros, and class 0 for every image."""
    with torch.no_grad():
        predictor.model.text.table.weight.mul_(factor)  # type: ignore[union-attr,operator]
    vectors = predictor.class_vectors(NAMES)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3), atol=1e-2, rtol=0)
    assert predictor.classify(Image.new("RGB", (8, 8), "blue"), NAMES)[0][0].name == "синий"


def test_unit_rows_are_those_of_normalize() -> None:
    rows = torch.randn(50, 7)
    expected = nn.functional.normalize(rows, dim=-1)
    assert torch.equal(unit_rows(rows, "image", str), expected)
    rows[3] = 0
    rows[4] = 1e-30
    found = unit_rows(rows.double(), "image", str)
    assert found.dtype == torch.float32
    assert found[3].tolist() == [0] * 7
    torch.testing.assert_close(found[4], torch.full((7,), 7**-0.5))
    assert torch.equal(found[:3], expected[:3])


def test_images_of_zeros(predictor: Predictor, pictures: Make, colours: Colours) -> None:
    predictor.model.vision_projection.project = lambda x: x * (x[:, :1] < 0)  # type: ignore[method-assign]
    rows = [(name, colours[name], None) for name in ("красный", "синий", "голубой")]
    found = run(predictor, pictures("d", NAMES, rows))
    assert "1 images is zero (the first: `красный`)" in found.notes[-1]
    with pytest.warns(UserWarning, match="image 0 has an embedding of zeros"):
        predictor.classify(colours["красный"], NAMES)
    predictor.model.vision_projection.project = lambda x: x * 0  # type: ignore[method-assign]
    with pytest.raises(DataError, match="embedding of every image is zero"):
        run(predictor, pictures("d", NAMES, rows))


def test_nothing_else_is_warned_of(predictor: Predictor, colours: Colours, recwarn: Any) -> None:
    predictor.classify(list(colours.values()), list(colours))
    assert not [each for each in recwarn if each.category is UserWarning]
