"""Adam of the rows that a sparse gradient names: PyTorch's own optimizers as the oracles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import PluginRef
from engine.contracts.optimizer import NamedParameter

MakeUse = Callable[..., PluginRef]
ROWS, WIDTH, STEPS = 40, 6, 8


def optimizer(make_use: MakeUse, table: nn.Parameter, **settings: Any) -> torch.optim.Optimizer:
    use = make_use("optimizer", "sparse_adam", **{"lr": 0.05, "weight_decay": 0.0, **settings})
    made: torch.optim.Optimizer = use.create().create([NamedParameter("table", table)])
    return made


def steps(table: nn.Parameter, using: torch.optim.Optimizer, *, sparse: bool) -> Tensor:
    """A few steps of look-ups of some rows, one of them twice."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        ids = torch.randint(ROWS - 10, (12,), generator=generator)
        ids[0] = ids[1]
        right = torch.randn(12, WIDTH, generator=generator)
        using.zero_grad()
        (
            functional.embedding(ids, table, sparse=sparse) - right.to(table)
        ).square().sum().backward()
        using.step()
    return table.detach()


def start(dtype: torch.dtype = torch.float32) -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(ROWS, WIDTH, dtype=dtype))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_dense_gradients_are_adams(decay: float, make_use: MakeUse) -> None:
    ours, theirs = start(), start()
    found = steps(ours, optimizer(make_use, ours, weight_decay=decay), sparse=False)
    using = torch.optim.Adam([theirs], lr=0.05, betas=(0.9, 0.999), weight_decay=decay)
    torch.testing.assert_close(found, steps(theirs, using, sparse=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sparse_gradients_are_those_of_sparse_adam(dtype: torch.dtype, make_use: MakeUse) -> None:
    ours, theirs = start(dtype), start(dtype)
    found = steps(ours, optimizer(make_use, ours), sparse=True)
    right = steps(theirs, torch.optim.SparseAdam([theirs], lr=0.05), sparse=True)
    # Theirs adds eps before the bias is corrected.
    tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, right, rtol=tolerance, atol=tolerance)
    untouched = slice(ROWS - 10, None)
    assert torch.equal(found[untouched], start(dtype).detach()[untouched])
