"""On a card what is right on the CPU: `pytest -m gpu`. Without a card these run on the CPU alone.

Each test takes the device of the machine; where there is no card, the same arithmetic in each
precision runs on the CPU as far as PyTorch has it, and two cards are not pretended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.core.config.schema import EngineConfig
from engine.train.callbacks import Callbacks

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
pytestmark = pytest.mark.gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
"""Of a loss, relative: float32 is exact but for the order of sums, bfloat16 has 8 bits."""

EVERYTHING = ("train.stages.0.trains={text: true, vision: true}",)


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("trains", [EVERYTHING, ()], ids=["everything", "frozen"])
def test_the_losses_are_those_of_the_cpu(
    make_config: Make, trained: Run, precision: str, trains: tuple[str, ...]
) -> None:
    _, expected = trained(make_config(*trains, "train.device=cpu", "train.precision=float32"))
    _, found = trained(make_config(*trains, f"train.device={DEVICE}",
                                   f"train.precision={precision}"))  # fmt: skip
    assert len(found.losses) == len(expected.losses) == 6
    # Gradient scaling leaves out the first steps of float16, so only the loss before them compares.
    same = 1 if precision == "float16" else 6
    assert found.losses[:same] == pytest.approx(expected.losses[:same], rel=TOLERANCE[precision])


class Stopped(Exception):
    pass


@pytest.mark.parametrize("precision", list(TOLERANCE))
def test_a_run_goes_on_as_it_would_have(
    make_config: Make, trained: Run, tmp_path: Path, precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = make_config(*EVERYTHING, f"train.device={DEVICE}", f"train.precision={precision}",
                         "train.save_steps=2")  # fmt: skip
    whole, _ = trained(config)
    real = Callbacks.on_step

    def on_step(self: Callbacks, step: int, values: object) -> None:
        real(self, step, values)  # type: ignore[arg-type]
        if step == 5:
            raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Callbacks, "on_step", on_step)
        trained(config, tmp_path / "broken")
    resumed, _ = trained(config, tmp_path / "broken", resume=True)
    other = weights(resumed)
    exact = DEVICE == "cpu"
    for name, tensor in weights(whole).items():
        if exact:
            assert torch.equal(tensor, other[name]), name
        else:
            assert torch.allclose(tensor, other[name], rtol=1e-3, atol=1e-5), name
