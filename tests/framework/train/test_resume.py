"""Checkpoints: a run that goes on ends with the weights of an undisturbed one."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoints
from engine.train.history import read_history
from engine.train.loop import Trainer
from engine.train.resume import difference

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
EVERY_STEP = ("train.save_steps=1", "train.checkpoints=100")


class KilledError(Exception):
    """Stands for the moment at which a process dies."""


def kill_after(trainer: Trainer, steps: int) -> None:
    """Break the run off at a moment when nothing was saved for it."""
    real = trainer._step

    def step(*arguments: Any) -> Any:
        if trainer.state.at.step == steps:
            raise KilledError
        return real(*arguments)

    trainer._step = step  # type: ignore[method-assign]


def same(first: Trainer, second: Trainer) -> bool:
    own, other = weights(first), weights(second)
    return all(torch.equal(own[name], other[name]) for name in own)


STAGES = (
    "train.stages=[{name: a, trains: {text: {blocks: last 2}}, epochs: 1, batch_size: 16,"
    " optimizer: {use: adamw, lr: 0.001}, losses: [{use: sigmoid}]},"
    " {name: b, trains: {vision: true, text: {blocks: all, embeddings: true}}, epochs: 2,"
    " batch_size: 16, optimizer: {use: adam, lr: 0.001}, losses: [{use: sigmoid}]}]"
)


@pytest.mark.parametrize("killed", [0, 1, 3, 5, 8])
def test_a_run_that_goes_on_equals_an_undisturbed_one_to_the_bit(
    make_config: Make, trained: Run, tmp_path: Path, killed: int
) -> None:
    config = make_config(STAGES, "train.save_steps=2")
    straight, heard = trained(config)
    folder = tmp_path / "broken"
    broken, _ = trained(config, folder, run=False)
    kill_after(broken, killed)
    with pytest.raises(KilledError):
        broken.run()
    resumed, again = trained(config, folder, resume=True)
    assert same(straight, resumed)
    assert straight.state.finished_stages[-1]["loss"] == resumed.state.finished_stages[-1]["loss"]
    assert again.losses == heard.losses[len(heard.losses) - len(again.losses) :]
    steps = [point["step"] for point in read_history(folder).points if "loss" in point]
    assert steps == list(range(1, 10))
    assert torch.equal(straight.state.losses["sigmoid"]["bias"],
                       resumed.state.losses["sigmoid"]["bias"])  # fmt: skip


@pytest.mark.parametrize("damage", ["cut", "flip", "state", "missing"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    make_config: Make, trained: Run, tmp_path: Path, damage: str
) -> None:
    config = make_config(*EVERY_STEP)
    folder = tmp_path / "run"
    straight, _ = trained(config, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    last = folder / "checkpoints" / "step-00000005"
    tensors = last / "tensors.safetensors"
    if damage == "cut":
        os.truncate(tensors, tensors.stat().st_size // 2)
    elif damage == "flip":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif damage == "state":
        (last / "state.json").write_text('{"step": 5', encoding="utf-8")
    else:
        tensors.unlink()
    resumed, heard = trained(config, folder, resume=True)
    assert any("falling back" in note and "step-00000005" in note for note in heard.notes)
    assert [step for step, _ in heard.values] == [5, 6]
    assert same(straight, resumed)


def test_no_whole_checkpoint_is_an_error(make_config: Make, trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = make_config("train.checkpoints=1")
    trained(config, folder)
    for path in (folder / "checkpoints").glob("*/state.json"):
        path.write_text("", encoding="utf-8")
    with pytest.raises(TrainingError, match="not one of 1 checkpoints"):
        trained(config, folder, resume=True)


def test_a_checkpoint_of_another_config_is_refused_with_the_difference(
    make_config: Make, trained: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    trained(make_config(), folder)
    with pytest.raises(TrainingError, match=r"`train\.stages\.0\.optimizer\.lr` differs"):
        trained(make_config("train.stages.0.optimizer.lr=0.5"), folder, resume=True)
    trained(
        make_config("train.checkpoints=5", "train.log_every=3"), folder, resume=True
    )  # is allowed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_leaves(
    make_config: Make, trained: Run, tmp_path: Path, number: signal.Signals
) -> None:
    config, folder = make_config(), tmp_path / "run"
    straight, _ = trained(config)
    stopped, heard = trained(config, folder, run=False)
    real = stopped._step

    def step(*arguments: Any) -> Any:
        if stopped.state.at.step == 2:
            os.kill(os.getpid(), number)
        return real(*arguments)

    stopped._step = step  # type: ignore[method-assign]
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as left:
        stopped.run()
    if number == signal.SIGTERM:
        assert left.value.code == 143
    assert stopped.checkpoints.steps() == [3]
    assert heard.closed
    resumed, _ = trained(config, folder, resume=True)
    assert same(straight, resumed)


def test_a_full_disk_loses_nothing(
    make_config: Make, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    config, folder = make_config(*EVERY_STEP), tmp_path / "run"
    straight, _ = trained(config)
    trainer, _ = trained(config, folder, run=False)
    real = safetensors.torch.save_file

    def full(tensors: Any, path: Path) -> None:
        real(tensors, path)
        if trainer.state.at.step == 4:
            os.truncate(path, 100)
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(TrainingError, match=r"No space left.*step 3 is whole"):
        trainer.run()
    assert trainer.checkpoints.steps() == [1, 2, 3]
    assert not list((folder / "checkpoints").glob(".*"))
    monkeypatch.undo()
    resumed, _ = trained(config, folder, resume=True)
    assert same(straight, resumed)


def test_only_the_last_and_the_best_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", keep=2)
    for step in range(1, 7):
        checkpoints.save(step, {"a": step}, {"x": torch.ones(2) * step}, best=2)
    assert checkpoints.steps() == [2, 5, 6]
    last = checkpoints.last(lambda line: None)
    assert last is not None
    assert last.state["a"] == 6
    assert torch.equal(last.tensors["x"], torch.ones(2) * 6)
    assert json.loads((tmp_path / "c/step-00000006/state.json").read_text())["step"] == 6


def test_the_first_difference_is_named() -> None:
    then = {"a": 1, "b": [{"c": 1}, {"c": 2}]}
    assert difference(then, {"a": 1, "b": [{"c": 1}, {"c": 2}]}) is None
    assert difference(then, {"a": 1, "b": [{"c": 1}, {"c": 3}]}) == "b.1.c"
    assert difference(then, {"a": 1, "b": [{"c": 1}]}) == "b"
    assert difference(then, {**then, "new": 1}) == "new"
