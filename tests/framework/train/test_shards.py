"""Training from shards: exact resume within an epoch, by the next row in the checkpoint."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from engine.core.config.schema import EngineConfig
from engine.errors import TrainingError
from engine.train.callbacks import Callbacks
from engine.train.checkpoint import Checkpoints
from engine.train.names import CHECKPOINTS

from .conftest import Run, weights

Make = Callable[..., EngineConfig]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(5):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(10 * shard, 10 * shard + 10):
                file = io.BytesIO()
                Image.new("RGB", (40, 30), (number * 5, 90, 250 - number * 5)).save(file, "JPEG")
                parts = (("jpg", file.getvalue()), ("txt", f"картинка {number}".encode()))
                for kind, data in parts:
                    member = tarfile.TarInfo(f"{number:03d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def overrides(shards: Path, *more: str) -> tuple[str, ...]:
    return (
        f"data.train={{use: shards, path: {shards}}}",
        "train.stages.0.sampler={use: windowed, window: 16, streams: 2}",
        "train.stages.0.batch_size=8",
        "train.stages.0.trains={text: true, vision: true}",
        "train.save_steps=2",
        *more,
    )


class Stopped(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    real = Callbacks.on_step

    def on_step(self: Callbacks, step: int, values: object) -> None:
        real(self, step, values)  # type: ignore[arg-type]
        if step == last:
            raise Stopped

    monkeypatch.setattr(Callbacks, "on_step", on_step)


@pytest.mark.parametrize("readers", ["threads", "processes"])
def test_a_run_goes_on_within_an_epoch_to_the_last_bit(
    make_config: Make, trained: Run, shards: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, readers: str,
) -> None:  # fmt: skip
    config = make_config(*overrides(shards, f"train.readers={readers}"))
    whole, heard = trained(config)
    assert len(heard.losses) == 12  # 2 epochs of 50 // 8 batches
    folder = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, 9)
        trained(config, folder)
    checkpoint = Checkpoints(folder / CHECKPOINTS, 2).last(print)
    assert checkpoint is not None
    assert checkpoint.state["at"]["batch"] == 2
    place = checkpoint.state["next_row"]
    assert 0 <= place["shard"] < 5
    assert 0 <= place["row"] < 10
    resumed, _ = trained(config, folder, resume=True)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_another_order_is_refused(
    make_config: Make, trained: Run, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(*overrides(shards))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, 9)
        trained(config, tmp_path / "broken")
    state = next((tmp_path / "broken" / CHECKPOINTS).glob("*8/state.json"), None)
    assert state is not None, sorted((tmp_path / "broken" / CHECKPOINTS).rglob("*"))
    plain = json.loads(state.read_text())
    found = plain.get("state", plain)
    monkeypatch.setattr(
        "engine.train.inputs.StageInputs.next_row", lambda self, order, batch: {"row": -1}
    )
    assert found["next_row"]
    with pytest.raises(TrainingError, match="the checkpoint goes on with shard"):
        trained(config, tmp_path / "broken", resume=True)
