"""Run by test_mixing.py, twice: BatchNorm over two processes against one over all rows.

python shared_statistics.py RANK PORT
"""

from __future__ import annotations

import sys

import torch
import torch.distributed
from torch import Tensor, nn

from engine.train.batch_norm import SharedStatistics

SHAPES = [(5, 4), (5, 4, 7), (5, 4, 3, 2), (2, 3)]


def layers(shape: tuple[int, ...]) -> list[nn.Module]:
    """BatchNorm in all the ways that PyTorch has."""
    torch.manual_seed(1)
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    made: list[nn.Module] = [
        kind(shape[1]), kind(shape[1], affine=False), kind(shape[1], momentum=None),
        kind(shape[1], track_running_stats=False), kind(shape[1], eps=0.1, momentum=0.7),
    ]  # fmt: skip
    for one in made:
        if getattr(one, "weight", None) is not None:
            nn.init.normal_(one.weight)  # type: ignore[arg-type]
    return made


def outcome(made: nn.Module, x: Tensor, target: Tensor) -> list[Tensor]:
    """Two passes: what comes out, the gradients, the running statistics."""
    x = x.clone().requires_grad_()
    for _ in range(2):
        out = made(x)
    (out.square() * target).sum().backward()
    grads = [p.grad for p in made.parameters() if p.grad is not None]
    assert x.grad is not None
    return [out.detach(), x.grad, *grads, *[b.clone() for b in made.buffers()]]


def compare(rank: int, port: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(2)
        x = torch.randn(shape, generator=generator) * 3 + 50  # a mean far from 0
        target = torch.randn(shape, generator=generator)
        first = shape[0] - 1  # the second process has a single row
        part = slice(0, first) if rank == 0 else slice(first, None)
        for whole, own in zip(layers(shape), layers(shape), strict=True):
            right = outcome(whole, x, target)
            with SharedStatistics():
                found = outcome(own, x[part], target[part])
            count = len(list(own.parameters()))
            for number, (one, other) in enumerate(zip(right, found, strict=True)):
                if number < 2:
                    one = one[part]
                elif number < 2 + count:
                    torch.distributed.all_reduce(other)  # as training adds them up
                torch.testing.assert_close(other, one, atol=2e-4, rtol=2e-4)
        still = layers(shape)[0].eval()
        with SharedStatistics():
            assert torch.equal(still(x[part]), still(x)[part])
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    compare(*map(int, sys.argv[1:]))
