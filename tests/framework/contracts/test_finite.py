"""Finite numbers: NaN and infinity are found in any tensor, at any place, and named."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.finite import check_finite, find_not_finite
from engine.errors import DataError, WeightsError

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 7, 23])
def test_one_bad_number_is_found(dtype: torch.dtype, bad: float, place: int) -> None:
    tensor = torch.ones(24, dtype=dtype)
    tensor[place] = bad
    found = find_not_finite({"good": torch.ones(3), "bad": tensor.view(4, 6)})
    assert [item.name for item in found] == ["bad"]
    assert found[0].first == divmod(place, 6)
    assert (found[0].nan, found[0].infinite) == ((1, 0) if math.isnan(bad) else (0, 1))


def test_infinities_of_both_signs_do_not_cancel() -> None:
    assert find_not_finite({"w": torch.tensor([math.inf, -math.inf])})[0].infinite == 2


@pytest.mark.parametrize(
    "fine",
    [
        torch.full((9,), 3e38),  # the sum overflows, no number does
        torch.full((9,), 65504.0, dtype=torch.float16),
        torch.full((9,), 1.7e308, dtype=torch.float64),
        torch.zeros(0),
        torch.zeros(2, 0, 3),
        torch.tensor(5.0),
        torch.arange(9),
        torch.tensor([True]),
        torch.ones(3, device="meta"),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(3, dtype=torch.complex64).conj(),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.ones(4, 5).t()[1:, ::2],
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}",
)
def test_finite_numbers_of_every_sort_pass(fine: torch.Tensor) -> None:
    check_finite("here", {"w": fine})


@pytest.mark.parametrize(
    "bad",
    [
        torch.tensor(math.nan),
        torch.tensor([1 + math.nan * 1j]),
        torch.tensor([1.0, math.nan]).to(torch.float8_e4m3fn),
        torch.tensor([[1.0, 2.0], [3.0, math.inf]]).t(),
        torch.nn.Parameter(torch.tensor([math.nan])),
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}",
)
def test_bad_numbers_of_every_sort_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match=r"here: .*\bw\b"):
        check_finite("here", {"w": bad})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=6), min_size=1, max_size=4))
def test_it_agrees_with_python(rows: list[list[float]]) -> None:
    tensors = {str(at): torch.tensor(row) for at, row in enumerate(rows)}
    wanted = [str(at) for at, row in enumerate(rows) if not all(map(math.isfinite, row))]
    assert [item.name for item in find_not_finite(tensors)] == wanted


def test_the_error_is_the_callers_and_stays_short() -> None:
    tensors = {f"layer.{i}": torch.tensor([math.nan]) for i in range(100)}
    with pytest.raises(DataError, match="and 96 more tensors of 100") as caught:
        check_finite("the class vectors", tensors, error=DataError, hint="Train it again.")
    assert caught.value.hint == "Train it again."
    assert len(caught.value.message) < 500
