"""Class vectors by hand, answers in order, ties."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from engine.core.config.schema import ZeroShotSettings
from engine.errors import DataError
from engine.evaluate.zero_shot import best, class_vectors, prompts

RAW = {"a": [3.0, 0.0], "not a": [0.0, 1.0], "b": [0.0, -2.0], "not b": [1.0, 0.0]}


def encode(texts: Sequence[str], *, raw: bool = False) -> Tensor:
    vectors = torch.tensor([RAW[text] for text in texts])
    return vectors if raw else functional.normalize(vectors, dim=-1)


def test_prompts() -> None:
    settings_ = ZeroShotSettings(templates=("{}", "фото: {} ()"), lower=True)
    assert prompts([" Ёж ", "{0}"], settings_) == ["ёж", "фото: ёж ()", "{0}", "фото: {0} ()"]
    assert prompts([" Ёж "], ZeroShotSettings()) == [" Ёж "]


def test_mean_of_normalised_and_of_raw_vectors() -> None:
    templates = ("{}", "not {}")
    clip = class_vectors(["a", "b"], ZeroShotSettings(templates=templates), encode)
    root = 2**-0.5
    torch.testing.assert_close(clip, torch.tensor([[root, root], [root, -root]]))
    raw = ZeroShotSettings(templates=templates, average="raw")
    expected = functional.normalize(torch.tensor([[3.0, 1.0], [1.0, -2.0]]), dim=-1)
    torch.testing.assert_close(class_vectors(["a", "b"], raw, encode), expected)


def test_no_class() -> None:
    with pytest.raises(DataError, match="classes is empty"):
        class_vectors([], ZeroShotSettings(), encode)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 8), st.integers(1, 12), st.integers(0, 99))
def test_best_are_the_largest_of_the_softmax(count: int, images: int, top: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes = functional.normalize(torch.randn(count, 4, generator=generator), dim=-1)
    pictures = functional.normalize(torch.randn(images, 4, generator=generator), dim=-1)
    probabilities, indices = best(pictures, classes, 50.0, top)
    everything = (50.0 * pictures @ classes.T).softmax(dim=-1)
    assert probabilities.shape == indices.shape == (images, min(top, count))
    torch.testing.assert_close(probabilities, everything.gather(1, indices))
    assert torch.equal(indices[:, 0], everything.argmax(dim=-1))
    assert (probabilities.diff(dim=-1) <= 0).all()
    if top >= count:
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(images))


def test_equal_classes_answer_in_their_order() -> None:
    classes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    _, indices = best(torch.tensor([[1.0, 0.0]]), classes, 300.0, 4)
    assert indices.tolist() == [[1, 2, 0, 3]]


def test_a_thousand_equal_classes_answer_in_their_order() -> None:
    _, indices = best(torch.ones(2, 4) / 2, torch.ones(1000, 4) / 2, 100.0, 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
