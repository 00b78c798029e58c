"""On a card what is right on the CPU: `pytest -m gpu`. Without a card these run on the CPU alone.

Each test takes the device of the machine; where there is no card, the same arithmetic in each
precision runs on the CPU as far as PyTorch has it, and two cards are not pretended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.core.config.schema import EngineConfig
from engine.train.callbacks import Callbacks

from .conftest import Run, weights
from .test_processes import compare_one_with_two, write_config

Make = Callable[..., EngineConfig]
pytestmark = pytest.mark.gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {"float32": 1e-4, "tf32": 3e-3, "bfloat16": 3e-2, "float16": 1e-2}
"""Of a loss, relative: float32 is exact but for the order of sums, TF32 has 10 bits of mantissa,
bfloat16 has 7."""

CARDS = torch.cuda.device_count()


def precise(name: str) -> tuple[str, ...]:
    """The settings of a precision; TF32 is float32 in which products are rounded."""
    own = "float32" if name == "tf32" else name
    return f"train.precision={own}", f"train.tf32={str(name == 'tf32').lower()}"


EVERYTHING = ("train.stages.0.trains={text: true, vision: true}",)


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("trains", [EVERYTHING, ()], ids=["everything", "frozen"])
def test_the_losses_are_those_of_the_cpu(
    make_config: Make, trained: Run, precision: str, trains: tuple[str, ...]
) -> None:
    _, expected = trained(make_config(*trains, "train.device=cpu", "train.precision=float32"))
    _, found = trained(make_config(*trains, f"train.device={DEVICE}", *precise(precision)))
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
    config = make_config(*EVERYTHING, f"train.device={DEVICE}", *precise(precision),
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


@pytest.mark.parametrize("trains", [EVERYTHING, ()], ids=["everything", "frozen"])
def test_channels_last_trains_the_same_model(
    make_config: Make, trained: Run, trains: tuple[str, ...]
) -> None:
    common = (*trains, f"train.device={DEVICE}", *precise("float32"))
    _, expected = trained(make_config(*common))
    _, found = trained(make_config(*common, "train.channels_last=true"))
    assert found.losses == pytest.approx(expected.losses, rel=TOLERANCE["float32"])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("trains", [EVERYTHING, ()], ids=["everything", "frozen"])
def test_no_step_waits_for_the_card(
    make_config: Make, trained: Run, trains: tuple[str, ...], optimizer: str
) -> None:
    """From the second epoch on: the first one fills the activation cache, which copies to the host.

    PyTorch raises where an operation would wait. Without a card only the numbers are compared (see
    test_readings.py for the same on a fake device).
    """
    settings = (
        *trains, f"train.device={DEVICE}", *precise("float32"), "train.log_every=3",
        f"train.stages.0.optimizer={{use: {optimizer}, lr: 0.001}}", "train.evaluate_every=0",
    )  # fmt: skip
    _, expected = trained(make_config(*settings))
    trainer, heard = trained(make_config(*settings), run=False)
    real, strict = trainer._step, []

    def step(*arguments: Any) -> Any:
        strict.append(DEVICE == "cuda" and trainer.state.at.epoch > 0)
        if strict[-1]:
            torch.cuda.set_sync_debug_mode("error")
        try:
            return real(*arguments)
        finally:
            if strict[-1]:
                torch.cuda.set_sync_debug_mode("default")

    trainer._step = step  # type: ignore[method-assign]
    trainer.run()
    assert len(strict) == 6
    assert any(strict) is (DEVICE == "cuda")
    assert trainer.readings.at_once is (DEVICE == "cpu")
    assert heard.losses == pytest.approx(expected.losses, rel=1e-5)


@pytest.mark.skipif(CARDS < 2, reason="two cards are not pretended")
def test_two_cards_train_the_model_of_one(tmp_path: Path) -> None:
    stage = {
        "name": "a", "epochs": 2, "batch_size": 15, "trains": {"vision": True, "text": True},
        "losses": [{"use": "contrastive"}, {"use": "sigmoid", "weight": 0.1}],
    }  # fmt: skip
    path = write_config(tmp_path, stages=[stage], device="cuda", precision="float32", tf32=False)
    compare_one_with_two(path, tmp_path, steps=6, relative=1e-4)
