"""What the tests of projections share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts import PluginRef, Projection, State

IN, OUT, EMBEDDING = 6, 10, 16


@pytest.fixture(scope="session")
def make(make_use: Callable[..., PluginRef], shaken: Callable[..., Any]) -> Callable[..., Any]:
    """``make("residual", dropout=0)``: the projection, 6 -> 10, over embeddings 16 wide."""

    def make(name: str, /, seed: int = 0, **settings: Any) -> Projection:
        torch.manual_seed(seed)
        use = make_use("projection", name, **settings)
        projection: Projection = shaken(use.create(IN, OUT, embedding_width=EMBEDDING), seed)
        return projection

    return make


@pytest.fixture(scope="session")
def texts() -> Callable[..., State]:
    """``texts(rows, length)``: a text encoder's state with rows of different lengths."""

    def make(rows: int, length: int = 5, seed: int = 0) -> State:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
        return {
            "pooled": torch.randn(rows, IN, generator=generator),
            "token_embeddings": torch.randn(rows, length, EMBEDDING, generator=generator),
            "mask": torch.arange(length) < lengths,
        }

    return make


def residual(tensors: dict[str, Tensor], x: Tensor, prefix: str = "") -> Tensor:
    """ru-clip's formula for one row [in] -> [out], over raw tensors."""
    one = tensors[f"{prefix}linear1.weight"] @ x
    two = tensors[f"{prefix}linear2.weight"] @ (one / (1 + torch.exp(-1.702 * one)))
    weight, bias = tensors[f"{prefix}layer_norm.weight"], tensors[f"{prefix}layer_norm.bias"]
    return functional.layer_norm(one + two, one.shape, weight, bias)
