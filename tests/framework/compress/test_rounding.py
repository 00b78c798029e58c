"""Rounding by moments: the moments themselves, products that are kept better, levels that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn

from engine.compress.choices import Choice, shown
from engine.compress.losses import stored_again
from engine.compress.rounding import Moments, _by_moments, _inverse
from engine.contracts.refs import StorageRef
from engine.core.registry import default_registry
from engine.core.weights import to_array

GRIDDED: list[dict[str, Any]] = [
    {"use": "int8_rows"},
    {"use": "int8_groups", "group": 32},
    {"use": "int4_groups", "group": 32},
    {"use": "int4_groups", "group": 64, "symmetric": False},
]


def choice(settings: dict[str, Any]) -> Choice:
    ref = TypeAdapter(StorageRef).validate_python(
        settings, context={"registry": default_registry()}
    )
    return Choice(ref, shown(ref), 0)


def rounded(one: Choice, tensor: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
    assert one.ref is not None
    grid = one.ref.create().grid(to_array(tensor))
    assert grid is not None
    plain = stored_again(one, tensor)
    return _by_moments(tensor.flatten(1), plain.flatten(1), grid, *_inverse(moments))


@pytest.mark.parametrize("settings", GRIDDED, ids=str)
def test_products_are_kept_better_and_the_file_gives_them_back(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    one, mixing = choice(settings), torch.randn(160, 160)
    inputs = torch.randn(4000, 160) @ mixing  # correlated, as the inputs of layers are
    matrix = torch.randn(24, 160)
    found = rounded(one, matrix, inputs.T @ inputs)
    plain = stored_again(one, matrix)
    exact = inputs @ matrix.T
    lost = [float((inputs @ each.T - exact).square().mean()) for each in (plain, found)]
    assert lost[1] < 0.6 * lost[0]
    assert torch.equal(stored_again(one, found), found)


@settings(max_examples=30, deadline=None)
@given(
    which=st.sampled_from(range(len(GRIDDED))), rows=st.integers(1, 6), columns=st.integers(1, 150),
    seed=st.integers(0, 1000), scale=st.sampled_from([1e-6, 1e-3, 1.0, 300.0]),
)  # fmt: skip
def test_what_is_encoded_lies_on_the_grid(
    which: int, rows: int, columns: int, seed: int, scale: float
) -> None:
    storage = choice(GRIDDED[which]).ref
    assert storage is not None
    array = (np.random.default_rng(seed).normal(size=(rows, columns)) * scale).astype(np.float32)
    made = storage.create()
    grid, found = made.grid(array), made.decode(made.encode(array), array.shape)
    assert grid is not None
    step, low, high = (
        np.broadcast_to(each, found.shape) for each in (grid.step, grid.low, grid.high)
    )
    assert (found >= low).all()
    assert (found <= high).all()
    levels = np.divide(found, step, out=np.zeros_like(found), where=step > 0)
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)


def test_an_input_that_never_comes_does_not_matter() -> None:
    torch.manual_seed(1)
    one, matrix = choice({"use": "int8_rows"}), torch.randn(4, 12)
    inputs = torch.randn(50, 12)
    inputs[:, 5] = 0
    found = rounded(one, matrix, inputs.T @ inputs)
    assert found.isfinite().all()
    assert torch.equal(stored_again(one, found), found)


def test_few_inputs_do_not_end_in_an_error() -> None:
    one, matrix = choice({"use": "int4_groups"}), torch.randn(3, 64)
    for inputs in (torch.randn(1, 64), torch.zeros(2, 64)):
        assert rounded(one, matrix, inputs.T @ inputs).isfinite().all()


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 4), (3, 5, 6)),
        (nn.Conv2d(3, 4, 1), (2, 3, 5, 5)),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=1), (2, 3, 7, 7)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 6, 6)),
    ],
    ids=["linear", "pointwise", "strided", "depthwise"],
)
def test_moments_are_those_of_what_is_multiplied(module: nn.Module, shape: tuple[int, ...]) -> None:
    """x -> W x has the squared length trace(W H W'), whatever W is."""
    weight, bias = module.weight, module.bias
    with torch.no_grad():
        bias.zero_()
    with Moments({id(weight): "it"}) as moments:
        for _ in range(2):
            torch.manual_seed(3)
            out = module(torch.randn(shape))
    found, rows = moments.found["it"] / 2, weight.flatten(1)
    if found.dim() == 2:
        length = torch.einsum("rc,cd,rd->", rows, found, rows)
    else:
        length = torch.einsum("rc,rcd,rd->", rows, found, rows)
    torch.testing.assert_close(length, out.square().sum(), rtol=1e-4, atol=1e-4)


def test_groups_of_several_channels_are_left_alone() -> None:
    module = nn.Conv2d(4, 4, 3, groups=2)
    with Moments({id(module.weight): "it"}) as moments:
        module(torch.randn(1, 4, 5, 5))
    assert not moments.found
