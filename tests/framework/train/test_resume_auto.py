"""`--resume auto`: one command begins, goes on, and survives torchrun's elastic restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from torch.distributed import TCPStore

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.train.distribution import agent_store
from engine.train.names import CHECKPOINTS, MODEL
from engine.train.run import train

from .conftest import BASE

Make = Callable[..., EngineConfig]


def test_it_begins_and_goes_on(make_config: Make, tmp_path: Path) -> None:
    config = make_config("data.evaluate=[]")
    built, _ = train(config, tmp_path / "run", resume="auto")
    again, report = train(config, tmp_path / "run", resume="auto")
    assert report is not None
    assert again.manifest["stages"] == built.manifest["stages"]
    with pytest.raises(TrainingError, match="holds a run already"):
        train(config, tmp_path / "run")


@pytest.mark.slow
def test_a_killed_worker_of_torchrun_is_restarted(tmp_path: Path) -> None:
    plain = {**BASE, "data": {**BASE["data"], "evaluate": []}}
    stage = {**BASE["train"]["stages"][0], "epochs": 60}
    plain["train"] = {**BASE["train"], "stages": [stage], "save_steps": 5}
    (tmp_path / "little.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0",
               "--max-restarts", "2", "--monitor-interval", "0.5", "-m", "engine", "train",
               "little.yaml", "-o", "run", "--resume", "auto"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        until = time.monotonic() + 240
        checkpoints = tmp_path / "run" / CHECKPOINTS
        while not (checkpoints.is_dir() and any(checkpoints.iterdir())):
            assert time.monotonic() < until, "no checkpoint came"
            assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        out, _ = process.communicate(timeout=240)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == 0, out[-3000:]
    assert (tmp_path / "run" / MODEL / "model.safetensors").is_file()
    assert len(children) >= 2


def test_a_restart_never_reads_addresses_of_the_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun's agent keeps one store over its restarts, whose old addresses lead nowhere."""
    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(agent.port))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    for restart, world in (("0", "2"), ("1", "2"), ("1", "3")):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", restart)
        monkeypatch.setenv("WORLD_SIZE", world)
        first, second = agent_store(), agent_store()
        assert not first.check(["address"])
        first.set("address", restart)
        assert second.get("address") == restart.encode()
