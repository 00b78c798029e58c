"""Real processes: two of them against one, and twenty real kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from engine.cli import main
from engine.train.history import read_history

from ...scaffold.warm import Command
from .conftest import BASE

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SCRIPT = Path(__file__).with_name("two_processes.py")


def write_config(folder: Path, **train: object) -> Path:
    """The little config with another `train:` section, and no dropout: it differs by process."""
    config = json.loads(json.dumps(BASE))
    for tower in ("vision", "text"):
        config["model"]["projection"][tower] = {"use": "residual", "dropout": 0.0}
    config["train"] |= train
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _whole(folder: Path, chunk: int | None) -> Path:
    """Several losses, and a projection that is chosen by the cluster."""
    stage = {
        "name": "a", "epochs": 2, "batch_size": 15, "chunk_size": chunk,
        "trains": {"vision": {"blocks": "last 1"}, "text": {"blocks": "last 2"}},
        "losses": [
            {"use": "contrastive"}, {"use": "sigmoid", "weight": 0.1},
            {"use": "router"}, {"use": "balance"},
        ],
    }  # fmt: skip
    path = write_config(folder, stages=[stage])
    config = yaml.safe_load(path.read_text())
    config["model"]["projection"]["text"] = {
        "use": "clustered", "count": 3, "of": {"use": "residual", "dropout": 0.0}, "rivals": "all",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _batch_norm(folder: Path, batch: int) -> Path:
    """Both towers have it."""
    stage = {
        "name": "a", "steps": 4, "batch_size": batch, "trains": {"vision": True, "text": True},
        # A bias before BatchNorm has a gradient of 0 but for rounding, which Adam would magnify.
        "optimizer": {"use": "adamw", "lr": 1e-3, "eps": 0.1},
    }  # fmt: skip
    path = write_config(folder, stages=[stage])
    config = yaml.safe_load(path.read_text())
    config["model"]["vision"] = {"use": "timm", "arch": "test_resnet", "image_size": 32}
    config["model"]["text"] = {
        "use": "bag_of_tokens", "width": 16, "layers": 2, "vocab_size": 400, "max_tokens": 15,
        "tokenizer": {"use": "trained"},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


CASES: dict[str, Callable[[Path], Path]] = {
    "whole batches": lambda folder: _whole(folder, None),
    "chunks of three": lambda folder: _whole(folder, 3),
    "norms of halves": lambda folder: _batch_norm(folder, 16),
    "norms of two rows and one": lambda folder: _batch_norm(folder, 3),
}


@pytest.fixture(scope="module")
def trained_by(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The folders in which one process and two have trained every case, one after the other."""
    configs = {name: tmp_path_factory.mktemp("config") for name in CASES}
    found = {}
    for count in (1, 2):
        found[count] = tmp_path_factory.mktemp(f"processes{count}")
        words = []
        for name, write in CASES.items():
            (found[count] / name).mkdir()
            words += [write(configs[name]), found[count] / name / "run", found[count] / name]
        torchrun(count, words)
    return found


def torchrun(count: int, words: list[Path]) -> None:
    """Train with so many processes; ``words`` are a config, a run's folder and one for numbers."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", str(count), str(SCRIPT), *map(str, words)]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


def compare_one_with_two(
    path: Path, tmp_path: Path, *, steps: int, relative: float = 0.0
) -> dict[str, torch.Tensor]:
    """Train a config in one process and in two, and :func:`compare` them."""
    folders = {count: tmp_path / f"out{count}" for count in (1, 2)}
    for count, folder in folders.items():
        folder.mkdir()
        torchrun(count, [path, tmp_path / f"run{count}", folder])
    return compare(folders, steps=steps, relative=relative)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["whole batches", "chunks of three"])
def test_two_processes_on_half_batches_give_one_processs_loss_and_gradients(
    case: str, trained_by: dict[int, Path]
) -> None:
    compare({count: folder / case for count, folder in trained_by.items()}, steps=6)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["norms of halves", "norms of two rows and one"])
def test_two_processes_train_the_batch_norm_of_one(case: str, trained_by: dict[int, Path]) -> None:
    """Of three rows the second process has one."""
    folders = {count: folder / case for count, folder in trained_by.items()}
    found = compare(folders, steps=4, relative=2e-3)
    assert int(found["buffer.text.blocks.0.norm.num_batches_tracked"]) == 4
    assert any(name.startswith("buffer.vision.") for name in found)


def compare(
    folders: dict[int, Path], *, steps: int, relative: float = 0.0
) -> dict[str, torch.Tensor]:
    """The same losses, gradients and running statistics of one process and of two.

    Args:
        folders: the numbers of each, by how many processes trained.
        steps: that the config takes.
        relative: what a number may be off after some steps, as a share of its tensor's largest.
    """
    found = {}
    for count, folder in folders.items():
        losses = json.loads((folder / "losses.json").read_text())
        found[count] = (losses, load_file(folder / "gradients.safetensors"))
    assert len(found[1][0]) == steps
    for one, two in zip(found[1][0], found[2][0], strict=True):
        assert two == pytest.approx(one, abs=1e-5, rel=relative)
    assert found[1][1].keys() == found[2][1].keys()
    for name, gradient in found[1][1].items():
        allowed = 1e-5 + relative * float(gradient.abs().max())
        assert torch.allclose(gradient, found[2][1][name], atol=allowed), name
    tensors: dict[str, torch.Tensor] = found[2][1]
    return tensors


@pytest.mark.slow
def test_two_workers_on_ray_give_the_losses_of_one_process(
    tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = {"name": "a", "trains": {"text": {"blocks": "last 2"}}, "epochs": 2, "batch_size": 15}
    path = write_config(tmp_path, stages=[stage])
    found = []
    for run, more in (("one", ()), ("two", ("--on", "ray", "--workers", "2"))):
        words = ["engine", "train", str(path), "-o", str(tmp_path / run), *more]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stop:
            main.run()
        assert stop.value.code == 0
        points = read_history(tmp_path / run).points
        found.append([point["loss"] for point in points if "loss" in point])
    assert len(found[0]) == 6
    assert found[1] == pytest.approx(found[0], abs=1e-5)


@pytest.mark.slow
def test_twenty_real_kills_change_nothing(tmp_path: Path, warm: str) -> None:
    path = write_config(
        tmp_path,
        save_steps=17,
        stages=[
            {"name": "a", "trains": {"text": {"blocks": "last 2"}}, "epochs": 250,
             "batch_size": 16, "optimizer": {"use": "adamw", "lr": 1e-3}},
            {"name": "b", "trains": {"vision": True, "text": {"blocks": "all",
             "embeddings": True}}, "epochs": 250, "batch_size": 16,
             "optimizer": {"use": "adamw", "lr": 1e-3}},
        ],
    )  # fmt: skip
    straight, broken = tmp_path / "straight", tmp_path / "broken"

    def start(folder: Path, *more: str) -> Command:
        words = ["-m", "engine", "train", str(path), "-o", str(folder), *more]
        with (tmp_path / "errors").open("wb") as file:
            return Command(
                warm, words, str(tmp_path), ENVIRONMENT, (0, file.fileno(), file.fileno())
            )

    def finish(process: Command) -> None:
        assert process.wait() == 0, (tmp_path / "errors").read_text()[-3000:]

    finish(start(straight))
    rng = random.Random(5)
    kills, more = 0, []
    while kills < 20:
        process = start(broken, *more)
        history = broken / "history.jsonl"
        before = history.stat().st_mtime_ns if history.exists() else 0
        while process.poll() is None:  # until it trains; then at any moment
            if history.exists() and history.stat().st_mtime_ns > before:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.35))
        assert process.poll() is None, "it ended before the kills did: more epochs are needed"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kills += 1
        more = ["--resume"]
    finish(start(broken, "--resume"))
    one = load_file(straight / "model" / "model.safetensors")
    other = load_file(broken / "model" / "model.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
