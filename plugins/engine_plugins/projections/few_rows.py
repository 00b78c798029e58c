"""Linear layers over few rows, on a processor.

A projection of one cluster meets a tenth of a batch. For so few rows PyTorch's usual product (MKL)
spends much of its time on rearranging the matrix; oneDNN's reads it as it lies. Ten clusters of a
batch of 256, 768 -> 1024: a step took 1.5 times that of one projection over the whole batch with
the usual product, and takes 1.0 times with this (AMD EPYC, ``benchmarks/projection.py``). The
numbers are the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

MAX_ROWS = 128
"""With more rows the matrix is used often enough to be worth rearranging."""


def _available() -> bool:
    # PyTorch's compiler emits this operator for linear layers; it has no public name.
    built: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return built and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    """[R, in] -> [R, out] by oneDNN, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        # A gradient that is to be differentiated again needs products that autograd knows.
        multiply = functional.linear if torch.is_grad_enabled() else _product
        grad = grads[0].contiguous()
        wanted = ctx.needs_input_grad
        return (
            multiply(grad, weight.t()) if wanted[0] else None,
            multiply(grad.t(), x.t()) if wanted[1] else None,
            grad.sum(dim=0) if wanted[2] else None,
        )


def _fits(x: Tensor, weight: Tensor, most_rows: int) -> bool:
    return (
        x.dim() == 2
        and 0 < len(x) <= most_rows
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class FewRows(TorchFunctionMode):
    """Inside ``with FewRows():`` linear layers over few float32 rows on a processor go to oneDNN.

    Everything else runs as usual; so does everything where PyTorch was built without oneDNN.

    Args:
        most_rows: how many rows are few.
    """

    def __init__(self, most_rows: int = MAX_ROWS) -> None:
        super().__init__()
        self.most_rows = most_rows if _available() else 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is functional.linear and not kwargs and _fits(args[0], args[1], self.most_rows):
            return _Linear.apply(args[0], args[1], args[2] if len(args) > 2 else None)
        return func(*args, **(kwargs or {}))
