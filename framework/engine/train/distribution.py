"""Several processes that train one model (torchrun): who is who, gathering, summing gradients.

Every process computes its rows of a batch. Embeddings are gathered. Of a loss that needs the whole
batch, every process computes the same number; its gradient with respect to the own rows is then
exact as it is, and what acts after the gathering (the logit scale, a loss's own parameters) has the
whole gradient in every process already. Of a loss that comes apart (``Loss.by_rows``), each process
computes the terms of its own rows; their gradient goes to the rows of all processes. Either way the
gradients of the towers add up over processes (:mod:`engine.train.reducer`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional

from engine.contracts.state import State
from engine.errors import TrainingError


class OtherEnded(TrainingError):
    """Another process of the same training ended; that one has the reason."""


PATIENCE = timedelta(days=7)
"""How long processes wait for what one of them does alone; NCCL's own limit is ten minutes."""


class Processes:
    """This process among those that train together; alone where nothing started more.

    Attributes:
        rank: number of this process, from 0; 0 writes everything.
        count: number of processes.
    """

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        self._own = False
        self._patient: Any = None

    @property
    def main(self) -> bool:
        """Whether this process writes checkpoints and logs."""
        return self.rank == 0

    def start(self, device: torch.device) -> None:
        """Meet the others: over NCCL between GPUs of CUDA, else over gloo."""
        self._device = device
        if self.count == 1 or self._patient is not None:
            return
        if not dist.is_initialized():
            dist.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=agent_store(), rank=self.rank, world_size=self.count,
            )  # fmt: skip
            self._own = True
        # Whole numbers go over gloo, so a GPU is not waited for, and with a patience of their own:
        # the others wait while the first process prepares data, builds, evaluates and saves. One
        # that dies closes its connections, so nobody waits for it.
        self._patient = dist.new_group(backend="gloo", timeout=PATIENCE)

    def stop(self) -> None:
        """Part from the others."""
        if self._own and dist.is_initialized():
            dist.destroy_process_group()
            self._patient = None

    def barrier(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier(group=self._patient)

    def shard(self, rows: Any) -> Any:
        """This process's rows of a batch: a contiguous range, so that gathering keeps the order."""
        size, rest = divmod(len(rows), self.count)
        start = self.rank * size + min(self.rank, rest)
        return rows[start : start + size + (self.rank < rest)]

    def all_gather(self, *own: int) -> Tensor:
        """[processes, numbers] int64: whole numbers of every process."""
        mine = torch.tensor([own], dtype=torch.int64)
        if self.count == 1:
            return mine
        found = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(found, mine, group=self._patient)
        return torch.cat(found)

    def all_reduce_max(self, tensor: Tensor) -> Tensor:
        """The largest of all processes, place by place."""
        if self.count > 1:
            tensor = tensor.cpu()
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._patient)
        return tensor

    def gather(
        self, state: State, counts: Sequence[int], apart: frozenset[str] = frozenset()
    ) -> tuple[State, State]:
        """The rows of all processes in order, with gradients for the own ones.

        Args:
            state: [own rows, ...] each, of the same names in every process. Where the second
                dimension counts tokens, it is padded with zeros to the longest of all processes.
            counts: rows of each process.
            apart: entries of losses that come apart.

        Returns:
            The entries for losses that every process computes whole; and those of ``apart``, whose
            gradient goes to the rows of all processes: it is the sum of what all of them find.
        """
        if self.count == 1:
            return state, state
        gathered, parts = dict[str, Tensor](), dict[str, Tensor]()
        for name, own in self._padded(state).items():
            flags = own.dtype == torch.bool  # gloo does not gather them
            rows = own.to(torch.uint8) if flags else own
            found: Tensor = _Gather.apply(rows, tuple(counts), self.rank)
            gathered[name] = found.bool() if flags else found
            if name in apart:
                whole = gathered[name].detach()
                parts[name] = _ForAll.apply(rows, whole, tuple(counts), self.rank)
        return gathered, parts

    def _padded(self, state: State) -> State:
        """The entries by name, the second dimension of each the same in every process."""
        names = sorted(state)
        if not any(t.dim() > 2 or (t.dim() == 2 and not t.is_floating_point())
                   for t in state.values()):  # fmt: skip
            return {name: state[name] for name in names}
        own = [state[name].shape[1] if state[name].dim() > 1 else 0 for name in names]
        longest = self.all_gather(*own).amax(dim=0).tolist()
        found: State = {}
        for name, length, maximum in zip(names, own, longest, strict=True):
            tensor = state[name]
            after = [0, 0] * (tensor.dim() - 2) + [0, maximum - length]
            found[name] = functional.pad(tensor, after) if maximum > length else tensor
        return found


def agent_store() -> Store:
    """Where the processes of this start find each other's addresses.

    The agent of torchrun (PyTorch 2.14) keeps one store over all its restarts, and workers write
    into it under the same names: a worker that is faster than the others then reads addresses of
    the killed ones and waits for them in vain. So the names of every restart have their own prefix.
    """
    store, _, count = next(rendezvous("env://"))
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"engine/{restart}/{count}", store)


class _Gather(torch.autograd.Function):
    """All rows of all processes; the gradient of the own rows comes back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.start, ctx.rows = sum(counts[:rank]), counts[rank]
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([some[:count] for some, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][ctx.start : ctx.start + ctx.rows], None, None


class _ForAll(torch.autograd.Function):
    """All rows of all processes; every process's gradient goes back to the rows' own process."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, whole: Tensor, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.start, ctx.rows = sum(counts[:rank]), counts[rank]
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.rows], None, None, None


def shared(value: Tensor, count: int) -> Tensor:
    """A number that all processes have, for losses that each of them computes whole.

    Each gives it a part of the gradient, so that the sum over processes is the gradient.
    """
    found: Tensor = _Shared.apply(value, count) if count > 1 else value
    return found


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int) -> Tensor:
        ctx.count = count
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] / ctx.count, None
