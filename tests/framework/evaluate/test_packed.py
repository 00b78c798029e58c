"""Packed weights: the numbers of `functional.linear`, for whatever calls it, where it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.evaluate.packed import PackedWeights, can_pack
from engine.evaluate.predictor import Predictor

pytestmark = pytest.mark.skipif(not can_pack(), reason="PyTorch without oneDNN")


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


class Functional(nn.Module):
    """Calls the function with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(200, 130))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.matrix)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(130, 200),
    "without bias": lambda: nn.Linear(130, 200, bias=False),
    "functional": Functional,
    "sequence": lambda: nn.Sequential(nn.Linear(130, 200), nn.GELU(), nn.Linear(200, 130)),
    "layer of a transformer": lambda: nn.TransformerEncoderLayer(130, 2, 200, batch_first=True),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(1, 130), (9, 130), (3, 5, 130), (0, 130), (2, 1, 4, 130)])
def test_the_same_numbers(name: str, shape: tuple[int, ...]) -> None:
    module, packed, x = MODULES[name]().eval(), PackedWeights(), torch.randn(shape)
    if x.dim() > 3 and name == "layer of a transformer":
        x = x.flatten(0, 1)
    wanted = module(x)
    for _ in range(2):
        with packed:
            found = module(x)
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    with packed:
        turned = module(x.transpose(0, -2).contiguous().transpose(0, -2))
    torch.testing.assert_close(turned, wanted, rtol=1e-4, atol=1e-4)
    assert (len(packed) > 0) == bool(x.numel())


def test_a_weight_is_packed_once_and_by_whichever_thread() -> None:
    module, packed, x = nn.Linear(256, 256), PackedWeights(), torch.randn(7, 256)
    wanted = module(x)

    def call(_: int) -> Tensor:
        with torch.inference_mode(), packed:  # of this thread
            return module(x).clone()

    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(call, range(40)):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert len(packed) == 1
    assert torch.equal(module(x), wanted)  # outside, nothing has changed


@pytest.mark.parametrize("what", ["half", "small", "a view", "gradients", "grown"])
def test_what_is_left_to_pytorch(what: str) -> None:
    module, packed, x = nn.Linear(256, 256), PackedWeights(), torch.randn(7, 256)
    if what == "half":
        module, x = module.bfloat16(), x.bfloat16()
    elif what == "small":
        module, x = nn.Linear(8, 8), x[:, :8]
    elif what == "grown":
        module, x = nn.Linear(256, 256).double(), x.double()
    wanted = module(x)
    with torch.set_grad_enabled(what == "gradients"), packed:
        if what == "a view":
            found = functional.linear(x, module.weight[:200], module.bias[:200])
            wanted = wanted[:, :200]
        else:
            found = module(x)
    torch.testing.assert_close(found, wanted)
    assert found.requires_grad == (what == "gradients")
    assert len(packed) == 0


def test_a_predictor_answers_the_same(predictor: Predictor) -> None:
    texts = ["красный", "синий квадрат", "a"]
    wanted, packed = predictor.encode_texts(texts), PackedWeights()
    with packed:
        found = predictor.encode_texts(texts)
    assert abs(found - wanted).max() < 1e-5


def test_paging_out_loses_nothing(tmp_path: Path) -> None:
    """Neither of weights in a file that is mapped into memory nor of those that are only there."""
    path = tmp_path / "weight"
    path.write_bytes(torch.randn(300, 256).numpy().tobytes())
    mapped = torch.from_file(str(path), size=300 * 256).view(300, 256)
    for weight in (nn.Parameter(mapped), nn.Parameter(torch.randn(300, 256))):
        before, packed, x = weight.clone(), PackedWeights(), torch.randn(5, 256)
        wanted = functional.linear(x, weight)
        with packed:
            functional.linear(x, weight)
        packed.page_out()
        assert torch.equal(weight, before)
        with packed:
            torch.testing.assert_close(functional.linear(x, weight), wanted, rtol=1e-4, atol=1e-4)
