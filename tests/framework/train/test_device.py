"""How a model is placed on its device: TF32, channels innermost, moments in the same order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.core.build import read_artifact
from engine.core.config.schema import EngineConfig
from engine.train.device import place_model, set_tf32
from engine.train.moments import StageOptimizer
from engine.train.names import MODEL
from engine.train.parts import ComputeParts
from engine.train.run import train

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
VISION = "train.stages.0.trains={vision: true, text: {blocks: last 1}}"


@pytest.fixture(autouse=True)
def rounding() -> Iterator[None]:
    """PyTorch's settings are those of the process."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("on", [True, False])
def test_tf32_is_allowed_or_forbidden(on: bool) -> None:
    set_tf32(on)
    assert torch.get_float32_matmul_precision() == ("high" if on else "highest")
    assert torch.backends.cuda.matmul.allow_tf32 is on
    assert torch.backends.cudnn.allow_tf32 is on


@pytest.mark.parametrize("on", [True, False])
def test_on_the_cpu_nothing_is_set(make_config: Make, trained: Run, on: bool) -> None:
    set_tf32(not on)
    trainer, _ = trained(make_config(f"train.tf32={str(on).lower()}"), run=False)
    trainer.prepare()
    assert torch.backends.cuda.matmul.allow_tf32 is not on


@pytest.mark.parametrize(("device", "expected"), [("cuda", "high"), ("meta", "highest")])
def test_only_gpus_of_cuda_are_asked(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch, device: str, expected: str
) -> None:
    set_tf32(False)
    model = trained(make_config(), run=False)[0].model
    monkeypatch.setattr(nn.Module, "to", lambda self, *_, **__: self)
    parts = ComputeParts(device, "float32", None, compile=False, tf32=True, channels_last=False)
    place_model(model, torch.device(device), parts)
    assert torch.get_float32_matmul_precision() == expected


def test_channels_last_trains_the_same_model(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    plain, heard = trained(make_config(VISION))
    other, read = trained(make_config(VISION, "train.channels_last=true"))
    kernels = [p for p in other.model.vision.parameters() if p.dim() == 4]
    assert kernels
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    assert any(not k.is_contiguous() for k in kernels)
    assert read.losses == pytest.approx(heard.losses, abs=1e-5)
    found = weights(other)
    for name, tensor in weights(plain).items():
        assert torch.allclose(found[name], tensor, atol=1e-4), name


def test_channels_last_goes_on_and_is_written_as_usual(make_config: Make, tmp_path: Path) -> None:
    config = make_config(VISION, "train.channels_last=true", "data.evaluate=[]")
    whole, _ = train(config, tmp_path / "whole")
    train(config, tmp_path / "run", until=lambda steps: 3)
    resumed, report = train(config, tmp_path / "run", resume=True)
    assert report is not None
    one, other = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert all(tensor.is_contiguous() for tensor in other.values())
    read = read_artifact(tmp_path / "run" / MODEL).model.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in read.items())


def test_moments_lie_in_memory_as_their_parameters() -> None:
    kernel = nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([kernel], lr=0.1)
    kernel.grad = torch.randn_like(kernel)
    optimizer.step()
    optimizer.param_groups[0]["initial_lr"] = 0.1
    stage = StageOptimizer(optimizer, ["kernel"], [kernel])
    state = stage.state()
    moments = state["moments"]["kernel"]
    for name in ("exp_avg", "exp_avg_sq"):
        moments[name] = moments[name].contiguous(memory_format=torch.contiguous_format)
        assert moments[name].stride() != kernel.stride()
    expected = moments["exp_avg"].clone()
    stage.resume(state)
    taken = optimizer.state[kernel]["exp_avg"]
    assert taken.stride() == kernel.stride()
    assert torch.equal(taken, expected)
