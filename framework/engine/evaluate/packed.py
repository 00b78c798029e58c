"""Weights in the order in which the processor reads them, for a model that only answers.

PyTorch hands a weight matrix to the library of matrix products as it lies in memory, and the
library arranges it in blocks, at every call. Arranged once, a product of few rows takes half the
time, one of many rows five sixths (``benchmarks/serve.py``).

Source: oneDNN, https://uxlfoundation.github.io/oneDNN/dev_guide_matmul.html ("memory format any").
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SMALLEST = 1 << 14
"""Numbers of a matrix below which nothing is gained."""


class PackedWeights(TorchFunctionMode):
    """While inside, ``functional.linear`` on a CPU takes its float32 parameters arranged in blocks.

    A parameter is arranged when it is first used, and kept: it takes its memory a second time
    (:meth:`page_out`), and must not change any more. Whatever calls ``functional.linear`` profits,
    also a third party's tower; the numbers differ by rounding only. Several threads may be inside
    at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def page_out(self) -> None:
        """Let the system take back the memory of the parameters that were arranged.

        Those of a file that is mapped into memory leave it until they are read again. Nothing
        happens to others, nor outside of Linux.
        """
        for weight, _ in list(self._known.values()):
            _page_out(weight.data_ptr(), weight.numel() * weight.element_size())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """What PyTorch calls in the place of each of its functions."""
        if func is functional.linear and not kwargs and 2 <= len(args) <= 3:
            found = self._linear(*args)
            if found is not None:
                return found
        return func(*args, **(kwargs or {}))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
        """``functional.linear``, or ``None`` where it is not for packed weights."""
        if torch.is_grad_enabled() or x.dtype != torch.float32 or not x.numel():
            return None
        known = self._known.get(id(weight))
        if known is None:
            if not _suits(weight) or (bias is not None and bias.dtype != torch.float32):
                return None
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            known = self._known[id(weight)] = weight, packed
        found: Tensor = torch.ops.mkldnn._linear_pointwise(x, known[1], bias, "none", [], "")
        return found


def _suits(weight: Tensor) -> bool:
    """Whether a weight lives as long as its model, and can be arranged."""
    return (
        isinstance(weight, nn.Parameter)
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and weight.numel() >= _SMALLEST
        and can_pack()
    )


def can_pack() -> bool:
    """Whether this PyTorch was built with oneDNN and has the operations."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return torch._C._has_mkldnn and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _page_out(start: int, size: int) -> None:
    page_out = 21  # <linux/mman.h>: never loses what is there, unlike MADV_DONTNEED
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = (start + size - first) // mmap.PAGESIZE * mmap.PAGESIZE
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return
    if length > 0:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(length), page_out)
