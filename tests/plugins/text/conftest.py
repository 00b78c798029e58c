"""Token ids and weights for the tests of text encoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from engine.contracts import State, pad_tokens


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., State]:
    """``batch_of([3, 7], vocab_size)``: random texts of these lengths, padded to the longest."""

    def make(lengths: Sequence[int], vocab_size: int, seed: int = 0) -> State:
        generator = torch.Generator().manual_seed(seed)
        rows = [torch.randint(vocab_size, (n,), generator=generator).tolist() for n in lengths]
        return pad_tokens(rows, pad_id=vocab_size - 1)

    return make


@pytest.fixture(scope="session")
def wild() -> Callable[..., Any]:
    """``wild(module)``: in eval mode, every number large enough to matter, whatever its name.

    With fresh weights attention is nearly flat and biases are 0: much could be wrong unnoticed.
    """

    def randomise(module: nn.Module, std: float = 0.3, seed: int = 0) -> nn.Module:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                if tensor.dtype.is_floating_point:
                    noise = std * torch.randn(tensor.shape, generator=generator)
                    tensor.copy_(0.5 + noise.abs() if name.endswith("running_var") else noise)
        return module.eval()

    return randomise
