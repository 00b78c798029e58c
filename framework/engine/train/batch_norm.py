"""BatchNorm over the rows of all processes, so that several train the model that one would.

``torch.nn.SyncBatchNorm`` does this on a GPU alone. This is its definition in PyTorch's own
operations, for every device, and also where a process has a single row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SharedStatistics(TorchFunctionMode):
    """While in its ``with``, batch_norm takes mean and variance over the rows of all processes.

    Every BatchNorm layer of PyTorch and timm calls ``torch.nn.functional.batch_norm``; that call is
    answered here. All processes must come to the same calls in the same order, each with a row at
    least, and then differentiate what comes out: the gradient crosses processes too.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer ``batch_norm`` of a layer that trains; leave everything else as it is."""
        if func is functional.batch_norm:
            return batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As ``torch.nn.functional.batch_norm``, over the rows of all processes.

    The statistics are computed in float32 at least. The running ones are the same in all processes.

    Args:
        input: [rows of this process, C, ...].
        running_mean: [C], changed in place, or ``None``.
        running_var: [C], changed in place, or ``None``.
        weight: [C] or ``None``.
        bias: [C] or ``None``.
        training: whether statistics are those of the batch; else the running ones.
        momentum: share of the batch in the running statistics.
        eps: added to the variance.

    Returns:
        [rows of this process, C, ...] of the input's dtype.
    """
    if not training:
        return functional.batch_norm(
            input, running_mean, running_var, weight, bias, False, momentum, eps
        )
    x = input if input.dtype == torch.float64 else input.float()
    rows = [0, *range(2, x.dim())]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    own = x.new_full((1,), x.numel() // x.shape[1])
    sums = _sum_of_all(torch.cat([x.sum(rows), own]))
    count, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = x - mean.view(shape)
    variance = _sum_of_all(centred.square().sum(rows)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        if running_var is not None:
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    out = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(input.dtype)


def _sum_of_all(tensor: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(tensor)
    return found


class _Sum(torch.autograd.Function):
    """The sum over processes; each one's part of the loss depends on it, so gradients add up."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total
