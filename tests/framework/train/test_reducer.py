"""Gradients of two and of three processes, summed while backward goes on, are those of one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.train.distribution import Processes
from engine.train.reducer import Reduced, Reducer, _buckets, in_order

SCRIPT = Path(__file__).with_name("reduced_gradients.py")


def run(count: int, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What each of so many processes found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), str(count), port, str(folder)],
            stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(count)
    ]  # fmt: skip
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    return [torch.load(folder / f"{count}.{rank}.pt", weights_only=True) for rank in range(count)]


@pytest.mark.slow
def test_several_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    """Tables, a layer that nothing uses, gradients in passes, late ones, clipping, both losses."""
    (one,) = run(1, tmp_path)
    assert "True.0.sometimes.weight" in one
    assert "True.1.sometimes.weight" not in one
    assert "True.3.sometimes.weight" in one
    for count in (2, 3):
        found = run(count, tmp_path)
        for mine in found:
            assert mine.keys() == one.keys()
            for name, expected in one.items():
                if not name.startswith("early."):
                    assert torch.allclose(mine[name], expected, rtol=1e-5, atol=1e-6), name
                    assert torch.equal(mine[name], found[0][name]), name
        # Buckets were on their way before backward ended, and never where that is not wanted.
        assert all(int(mine["early.True.2"]) > 3 for mine in found)
        assert all(int(mine["early.False.2"]) == 0 for mine in found)
    assert not any("unused" in name for name in one)


def test_one_process_has_no_buckets() -> None:
    layer = nn.Linear(2, 2)
    reducer = Reducer(Processes(), Reduced([*layer.parameters()]))
    reducer.begin()
    reducer.last_pass()
    layer(torch.ones(1, 2)).sum().backward()
    grad = layer.weight.grad
    more = torch.ones(2)
    assert reducer.finish(more) is more
    assert layer.weight.grad is grad
    assert not layer.weight._post_accumulate_grad_hooks
    reducer.close()


def test_buckets_hold_neighbours_of_one_kind() -> None:
    sizes = [4, 4, 12, 2, 2, 2]
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    parameters[4] = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    found = _buckets(parameters, 32)
    assert [[p.numel() for p in bucket.parameters] for bucket in found] == [[4, 4], [12], [2], [2],
                                                                             [2]]  # fmt: skip


@pytest.mark.parametrize("chunked", [False, True])
def test_the_order_is_that_of_backward(chunked: bool) -> None:
    names = ["logit_scale", "text.a", "text.b", "text_projection.w", "vision.a", "vision.b"]
    parameters = [nn.Parameter(torch.zeros(1)) for _ in names]
    place = {id(p): name for name, p in zip(names, parameters, strict=True)}
    found = [place[id(p)] for p in in_order(names, parameters, chunked=chunked)]
    towers = ["text.b", "text.a", "vision.b", "vision.a"]
    if chunked:
        towers = towers[2:] + towers[:2]
    assert found == [*towers, "text_projection.w", "logit_scale"]
