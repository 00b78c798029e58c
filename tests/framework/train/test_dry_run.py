"""`--dry-run`: what it measures is what a run takes, and it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.core.config.schema import EngineConfig
from engine.errors import ConfigError
from engine.train.dry_run import estimate
from engine.train.names import CHECKPOINTS
from engine.train.run import train

Make = Callable[..., EngineConfig]


def everything(folder: Path) -> set[str]:
    """Of this folder; PyTorch makes a folder of its own where temporary files go."""
    return {str(path) for path in folder.rglob("*") if "torchinductor" not in str(path)}


def test_it_measures_each_stage_and_writes_nothing(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    config = make_config("train.stages.0.epochs=4", "data.evaluate=[]")
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    found = estimate(config, budget=20)
    assert everything(tmp_path) == before
    stage = found.stages[0]
    assert (stage.steps, stage.first_epoch_steps, stage.measured_steps) == (12, 3, 3)
    assert 0 < stage.later_seconds < 10
    assert 0 < stage.first_seconds < 10
    assert stage.seconds == pytest.approx(3 * stage.first_seconds + 9 * stage.later_seconds)
    assert found.seconds == pytest.approx(found.start_seconds + stage.seconds)
    assert found.rows == 48
    assert found.memory_bytes > 50e6
    assert found.device == "cpu"
    assert found.measured_seconds < 120


def test_bytes_are_those_of_a_run(make_config: Make, tmp_path: Path) -> None:
    config = make_config("data.evaluate=[]")
    found = estimate(config, budget=20)
    _, report = train(config, tmp_path / "run")
    assert report is not None
    assert found.artifact_bytes == report.total
    steps = sorted((tmp_path / "run" / CHECKPOINTS).iterdir())
    last = sum(path.stat().st_size for path in steps[-1].rglob("*") if path.is_file())
    assert last <= found.checkpoint_bytes < 5 * last  # the last one is of a stage that is over
    cache = tmp_path / "run" / "cache"
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    assert found.cache_bytes == pytest.approx(size, rel=0.5)


def test_it_is_bounded(make_config: Make) -> None:
    config = make_config("train.stages.0.epochs=100000", "train.stages.0.batch_size=2")
    found = estimate(config, budget=0.0)
    assert found.stages[0].measured_steps == 1
    assert found.stages[0].steps == 2_400_000
    assert found.seconds > 1000


def test_teachers_are_not_measured(make_config: Make) -> None:
    config = make_config("train.teachers={t: {use: sentence_transformer, model: file:nowhere}}")
    with pytest.raises(ConfigError, match="with teachers is not measured"):
        estimate(config)
