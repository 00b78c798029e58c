"""Several processes that train one model (torchrun): who is who, gathering, summing gradients.

Every process computes its rows of a batch. Embeddings are gathered, so that every process computes
the same loss of the whole batch; its gradient with respect to the own rows is then exact as it is,
and the gradients of the towers add up over processes. What acts after the gathering (the logit
scale, a loss's own parameters) has the whole gradient in every process already.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional

from engine.contracts.state import State

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

    def gather(self, state: State, counts: Sequence[int]) -> State:
        """The rows of all processes in order, with gradients for the own ones.

        Args:
            state: [own rows, ...] each, of the same names in every process. Where the second
                dimension counts tokens, it is padded with zeros to the longest of all processes.
            counts: rows of each process.
        """
        if self.count == 1:
            return state
        gathered: dict[str, Tensor] = {}
        for name, own in self._padded(state).items():
            flags = own.dtype == torch.bool  # gloo does not gather them
            rows = own.to(torch.uint8) if flags else own
            found: Tensor = _Gather.apply(rows, tuple(counts), self.rank)
            gathered[name] = found.bool() if flags else found
        return gathered

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

    def all_reduce_grads(
        self, towers: Iterable[nn.Parameter], shared: Iterable[nn.Parameter]
    ) -> None:
        """Make every process's gradients those of the whole batch.

        Args:
            towers: parameters before the gathering: their gradients are summed. One that got none
                in any process keeps none.
            shared: parameters after it: the mean is taken, which removes differences of rounding.
        """
        if self.count == 1:
            return
        before, after = list(towers), list(shared)
        every = [*before, *after]
        had = torch.tensor([p.grad is not None for p in every], dtype=torch.uint8)
        anywhere = self.all_reduce_max(had).tolist()
        used = [p for p, some in zip(every, anywhere, strict=True) if some]
        grads = [torch.zeros_like(p) if p.grad is None else _dense(p.grad) for p in used]
        if not grads:
            return
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat)
        late = {id(p) for p in after}
        at = 0
        for parameter in used:
            grad = flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
            parameter.grad = grad / self.count if id(parameter) in late else grad.clone()


def agent_store() -> Store:
    """Where the processes of this start find each other's addresses.

    The agent of torchrun (PyTorch 2.14) keeps one store over all its restarts, and workers write
    into it under the same names: a worker that is faster than the others then reads addresses of
    the killed ones and waits for them in vain. So the names of every restart have their own prefix.
    """
    store, _, count = next(rendezvous("env://"))
    restart = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"engine/{restart}/{count}", store)


def _dense(grad: Tensor) -> Tensor:
    """Rows that only one process has a gradient of are sent to all: a table's becomes dense."""
    return grad.to_dense() if grad.is_sparse else grad


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
