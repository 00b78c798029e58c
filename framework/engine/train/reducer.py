"""Gradients of several processes: summed in buckets while backward still computes the rest.

As PyTorch's DistributedDataParallel does it (Li et al., 2020, arXiv:2006.15704), with what training
needs beside: towers that run group by group (GradCache), parameters that no process has a gradient
of keep none, gradients of tables become dense, and the parameters after the gathering of rows.

Buckets go out in one order, which follows from the parameters alone. So all processes sum the same
buckets one after the other, and a run that goes on sums as the undisturbed one did.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.train.distribution import Processes

BUCKET_BYTES = 25 * 2**20
"""Of a bucket: large enough for the network, small enough to begin early; PyTorch's own default."""


@dataclass(frozen=True)
class Reduced:
    """The parameters of a stage, by what is done with their gradients.

    Attributes:
        towers: before the gathering, in the order in which backward comes to them: summed.
        same: after it, where every process has the whole gradient: the mean, which removes
            differences of rounding.
        parts: after it, where every process has the gradient of its own part of a loss: summed.
    """

    towers: Sequence[nn.Parameter]
    same: Sequence[nn.Parameter] = ()
    parts: Sequence[nn.Parameter] = ()


@dataclass
class _Bucket:
    """Neighbours of one dtype and device, and how many of them are not ready."""

    parameters: list[nn.Parameter] = field(default_factory=list)
    missing: int = 0
    flat: Tensor | None = None
    work: Any = None


class Reducer:
    """Makes every process's gradients those of the whole batch.

    Call :meth:`begin` before a step's backward, :meth:`last_pass` before the last pass of it, and
    :meth:`finish` after it; nothing is done in a single process.

    Args:
        processes: this process among the others.
        parameters: of the stage.
        overlap: sum buckets while backward goes on. Not where backward itself talks to the other
            processes (BatchNorm over all rows): what is sent in between must be in one order.
        bucket_bytes: of a bucket at most, unless a single parameter is larger.
    """

    def __init__(
        self,
        processes: Processes,
        parameters: Reduced,
        *,
        overlap: bool = True,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self._processes, self._parameters = processes, parameters
        self._overlap, self._armed = overlap, False
        self.early = 0
        """Buckets of the last step that were on their way before backward ended."""
        self._buckets = _buckets(parameters.towers, bucket_bytes) if processes.count > 1 else []
        self._place = {id(p): b for b in self._buckets for p in b.parameters}
        self._ready: set[int] = set()
        self._given: dict[int, bool] = {}
        # Without a gradient in the last step: not waited for. One that comes after all is late.
        self._idle: set[int] = set()
        self._next = 0
        self._hooks = [
            p.register_post_accumulate_grad_hook(self._hook)  # type: ignore[no-untyped-call]
            for b in self._buckets
            for p in b.parameters
            if overlap
        ]

    def begin(self) -> None:
        """A step begins."""
        self._armed, self._next, self.early = False, 0, 0
        self._ready.clear()
        for bucket in self._buckets:
            bucket.missing, bucket.flat, bucket.work = len(bucket.parameters), None, None

    def last_pass(self, pending: Collection[nn.Parameter] | None = None) -> None:
        """What follows is the last pass of backward.

        Args:
            pending: the parameters that still get a gradient; all others have theirs. By default
                all may get one.
        """
        if not self._overlap or not self._buckets:
            return
        self._armed = True
        still = {id(p) for p in (self._parameters.towers if pending is None else pending)}
        for parameter in self._parameters.towers:
            if id(parameter) not in still - self._idle:
                self._hook(parameter)

    def _hook(self, parameter: Tensor) -> None:
        """Backward has come to a parameter."""
        if not self._armed or id(parameter) in self._ready:
            return
        self._ready.add(id(parameter))
        self._place[id(parameter)].missing -= 1
        while self._next < len(self._buckets) and not self._buckets[self._next].missing:
            self._send(self._buckets[self._next])
            self._next += 1
            self.early += 1

    def _send(self, bucket: _Bucket) -> None:
        grads = [
            torch.zeros_like(p) if p.grad is None else _dense(p.grad) for p in bucket.parameters
        ]
        bucket.flat = torch.cat([grad.reshape(-1) for grad in grads])
        for parameter in bucket.parameters:
            self._given[id(parameter)] = parameter.grad is not None
            parameter.grad = None  # what comes later is added in `finish`
        bucket.work = dist.all_reduce(bucket.flat, async_op=True)

    def finish(self, more: Tensor | None = None) -> Tensor | None:
        """Send what is left, and put the sums into the parameters.

        Args:
            more: [n] float32, summed over processes on the way.

        Returns:
            The sums of ``more``.
        """
        if self._processes.count == 1:
            return more
        self._armed = False
        for bucket in self._buckets[self._next :]:
            self._send(bucket)
        self._next = len(self._buckets)
        towers = [p for b in self._buckets for p in b.parameters]
        after = [*self._parameters.same, *self._parameters.parts]
        flags = [self._given[id(p)] for p in towers]
        flags += [p.grad is not None for p in (*towers, *after)]
        found = self._processes.all_reduce_max(torch.tensor(flags, dtype=torch.uint8)).tolist()
        had, late, used = (
            found[: len(towers)], found[len(towers) : 2 * len(towers)], found[2 * len(towers) :]
        )  # fmt: skip
        _sum_flat([p for p, some in zip(towers, late, strict=True) if some])  # after their bucket
        extra = {id(p): p.grad for p in towers if p.grad is not None}
        self._idle = {id(p) for p, *some in zip(towers, had, late, strict=True) if not any(some)}
        for bucket in self._buckets:
            _take(bucket)
        for parameter, some, more_came in zip(towers, had, late, strict=True):
            if more_came:
                assert parameter.grad is not None
                parameter.grad += extra[id(parameter)]
            elif not some:
                parameter.grad = None
        return self._finish_after([p for p, some in zip(after, used, strict=True) if some], more)

    def _finish_after(self, used: Sequence[nn.Parameter], more: Tensor | None) -> Tensor | None:
        """The parameters after the gathering, and ``more``, in one piece."""
        same = {id(p) for p in self._parameters.same}
        sums = _sum_flat(used, more)
        for parameter in used:
            if id(parameter) in same:
                assert parameter.grad is not None
                parameter.grad /= self._processes.count
        return sums

    def close(self) -> None:
        """Take the hooks off the parameters."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []


def _buckets(parameters: Sequence[nn.Parameter], size: int) -> list[_Bucket]:
    """Neighbours of one dtype and device, up to so many bytes."""
    found: list[_Bucket] = []
    held, kind = 0, None
    for parameter in parameters:
        own = parameter.numel() * parameter.element_size()
        if not found or (parameter.dtype, parameter.device) != kind or held + own > size:
            found.append(_Bucket())
            held, kind = 0, (parameter.dtype, parameter.device)
        found[-1].parameters.append(parameter)
        held += own
    return found


def _take(bucket: _Bucket) -> None:
    """The sums of a bucket become the gradients of its parameters."""
    assert bucket.flat is not None
    bucket.work.wait()
    _spread(bucket.flat, bucket.parameters)
    bucket.flat = bucket.work = None


def _spread(flat: Tensor, parameters: Sequence[nn.Parameter]) -> int:
    """Numbers in one piece become gradients, views where the order of memory is the same."""
    at = 0
    for parameter in parameters:
        grad = flat[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
        alike = grad.stride() == parameter.stride()
        parameter.grad = grad if alike else torch.empty_like(parameter).copy_(grad)
    return at


def _sum_flat(parameters: Sequence[nn.Parameter], more: Tensor | None = None) -> Tensor | None:
    """Sum gradients over processes in one piece, with more numbers behind; gives those."""
    grads = [torch.zeros_like(p) if p.grad is None else _dense(p.grad) for p in parameters]
    pieces = [grad.reshape(-1) for grad in grads] + ([] if more is None else [more])
    if not pieces:
        return None
    flat = torch.cat(pieces)
    dist.all_reduce(flat)
    at = _spread(flat, parameters)
    return None if more is None else flat[at:]


def _dense(grad: Tensor) -> Tensor:
    """Rows that only one process has a gradient of are sent to all: a table's becomes dense."""
    return grad.to_dense() if grad.is_sparse else grad


def in_order(
    names: Sequence[str], parameters: Sequence[nn.Parameter], *, chunked: bool
) -> list[nn.Parameter]:
    """Parameters as backward comes to them, from the end of each tower to its beginning.

    Texts are encoded after images, so backward comes to their tower first; in chunks it goes
    through the images' tower first. What is neither comes last: it is small, and part of it may
    have no gradient, which would hold up what is behind it.

    Args:
        names: of the parameters, as in the model's state dict.
        parameters: in the same order.
        chunked: the towers run chunk by chunk.
    """
    first, second = ("vision.", "text.") if chunked else ("text.", "vision.")
    ranks = {first: 0, second: 1}

    def rank(name: str) -> int:
        return next((ranks[prefix] for prefix in ranks if name.startswith(prefix)), 2)

    groups: list[list[nn.Parameter]] = [[], [], []]
    for name, parameter in zip(names, parameters, strict=True):
        groups[rank(name)].append(parameter)
    return [p for group in groups for p in reversed(group)]


Pending = Callable[[Collection[nn.Parameter] | None], None]
"""How a step says that its last pass of backward begins, see :meth:`Reducer.last_pass`."""
