"""The kernel for few rows gives what a linear layer gives, forwards, backwards and twice so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from engine_plugins.projections import few_rows
from engine_plugins.projections.few_rows import MAX_ROWS, FewRows

calm = settings(max_examples=40, deadline=None)
width = st.integers(1, 40)


def outcome(layer: Callable[..., Tensor], *inputs: Tensor | None) -> list[Tensor]:
    """The result, and every input's gradient."""
    own = [None if t is None else t.clone().requires_grad_() for t in inputs]
    result = layer(*own)
    result.square().sum().backward()
    return [result.detach(), *(t.grad for t in own if t is not None and t.grad is not None)]


@calm
@given(st.integers(0, MAX_ROWS + 3), width, width, st.booleans(), st.booleans())
def test_same_numbers(rows: int, wide: int, out: int, biased: bool, lying: bool) -> None:
    torch.manual_seed(rows)
    x = torch.randn(wide, rows).t() if lying else torch.randn(rows, wide)
    weight, bias = torch.randn(out, wide), torch.randn(out) if biased else None
    expected = outcome(functional.linear, x, weight, bias)
    with FewRows():
        found = outcome(functional.linear, x, weight, bias)
    assert len(found) == len(expected) == 3 + biased
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_second_derivative() -> None:
    x = torch.randn(4, 6, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(5, 6, requires_grad=True)

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(
            functional.linear(x, weight).pow(3).sum(), x, create_graph=True
        )
        return torch.autograd.grad(slope.square().sum(), weight)[0]

    expected = penalty()
    with FewRows():
        torch.testing.assert_close(penalty(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(not few_rows._available(), reason="PyTorch built without oneDNN")
def test_it_is_used_where_it_fits_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    product = few_rows._product
    monkeypatch.setattr(
        few_rows, "_product", lambda x, *rest: (used.append(len(x)), product(x, *rest))[1]
    )
    weight = torch.randn(3, 4)
    with FewRows():
        functional.linear(torch.randn(5, 4), weight)
        assert used == [5]
        functional.linear(torch.randn(MAX_ROWS + 1, 4), weight)
        functional.linear(torch.randn(2, 5, 4), weight)
        functional.linear(torch.randn(5, 4).double(), weight.double())
        with torch.autocast("cpu"):
            assert functional.linear(torch.randn(5, 4), weight).dtype == torch.bfloat16
    functional.linear(torch.randn(5, 4), weight)
    assert used == [5]


def test_without_onednn_all_goes_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_rows, "_available", lambda: False)
    x, weight = torch.randn(3, 4), torch.randn(2, 4)
    with FewRows():
        assert torch.equal(functional.linear(x, weight), x @ weight.t())
