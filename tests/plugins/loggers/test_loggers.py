"""Loggers: what they write, and what they say when they cannot."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.contracts import PluginRef, RunInfo
from engine.errors import PluginError
from engine_plugins.loggers.console import clock, progress

Make = Callable[..., PluginRef]


def info(folder: Path, step: int = 0) -> RunInfo:
    return RunInfo(folder, "little", 100, step, {})


def test_console_prints_lines_to_stderr(
    make_use: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = make_use("logger", "console", seconds=1e-9).create()
    logger.start(info(tmp_path))
    logger.log(10, {"loss": 1.23456, "lr": 1e-4, "samples_per_second": 1234.5,
                    "seconds_left": 185.0})  # fmt: skip
    logger.log(11, {"accuracy": 91.25})
    logger.note(11, "stage 2, [bold] blocks")
    logger.close()
    out, err = capsys.readouterr()
    assert out == ""
    first, second, third = err.splitlines()
    assert first == "step 10/100  3:05 left  loss 1.2346  1,234 samples/s  lr 1.0e-04"
    assert "accuracy 91.2 %" in second
    assert third == "step 11: stage 2, [bold] blocks"


def test_clock_and_figures() -> None:
    assert [clock(s) for s in (0, 59.6, 185, 7985)] == ["0:00", "1:00", "3:05", "2:13:05"]
    assert progress(info(Path()), 3, {}) == "step 3/100"


@pytest.mark.parametrize("width", [20, 40, 66, 68, 100, None])
def test_step_stage_epoch_and_time_left_before_the_other_figures(width: int | None) -> None:
    run = RunInfo(Path(), "little", 480_000, 0, {}, [("warm", 1), ("everything else", 300)])
    values = {"stage": 2.0, "epoch": 12.0, "loss": 2.3145, "lr": 1e-4, "seconds_left": 7985.0,
              "samples_per_second": 12_345.0, "accuracy": 61.2}  # fmt: skip
    text = progress(run, 120_000, values, width)
    assert text.startswith("step 120000/480000  everything … 2/2  epoch 12/300  2:13:05 left")
    if width is None or width >= 80:
        assert "  loss 2.3145  accuracy 61.2 %" in text
    if width is not None and width >= 64:
        assert len(text) <= width


def test_json_lines_append_where_a_run_goes_on(make_use: Make, tmp_path: Path) -> None:
    use = make_use("logger", "json_lines", file="numbers.jsonl")
    for step in (0, 2):
        logger = use.create()
        logger.start(info(tmp_path, step))
        logger.log(step + 1, {"loss": math.nan if step else 0.5})
        logger.note(step + 1, "сохранено")
        logger.close()
    lines = (tmp_path / "numbers.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5}, {"step": 1, "note": "сохранено"},
        {"step": 3, "loss": None}, {"step": 3, "note": "сохранено"},
    ]  # fmt: skip
    fresh = use.create()
    fresh.start(info(tmp_path))
    fresh.close()
    assert (tmp_path / "numbers.jsonl").read_text() == ""


def test_a_file_name_that_leaves_the_folder_is_refused(make_use: Make) -> None:
    with pytest.raises(ValueError, match="file"):
        make_use("logger", "json_lines", file="../elsewhere")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("tensorboard", "torch.utils.tensorboard", "tensorboard"),
        ("wandb", "wandb", "wandb"),
        ("mlflow", "mlflow", "mlflow"),
    ],
)
def test_what_to_install_is_said(
    make_use: Make, monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PluginError, match=f"needs the package {package}") as caught:
        make_use("logger", name).create()
    assert f"pip install {package}" in str(caught.value.hint)


VALUES = {"loss": 0.5, "accuracy mine & yours": 10.0, "bad": math.nan, "worse": math.inf}


def test_wandb_offline_writes_files_and_a_run_goes_on(
    make_use: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_MODE", "online")  # the setting holds, not the environment
    ids = []
    for step in (0, 10):
        logger = make_use("logger", "wandb").create()
        logger.start(info(tmp_path, step))
        logger.log(step + 1, VALUES)
        logger.note(step + 1, "stage 1")
        logger.close()
        logger.close()
        ids.append((tmp_path / ".wandb-id").read_text())
    assert ids[0] == ids[1]
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert all(ids[0].strip() in file.name and file.stat().st_size for file in files)


def test_mlflow_writes_into_the_run_and_goes_on(make_use: Make, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    for step in (0, 10):
        logger = make_use("logger", "mlflow").create()
        logger.start(RunInfo(tmp_path, "little", 100, step, {"seed": 3, "train": {"lr": [1e-4]}}))
        logger.log(step + 1, VALUES)
        logger.note(step + 1, "stage 1")
        logger.close()
        logger.close()
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").absolute().as_uri())
    experiment = client.get_experiment_by_name("engine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.lr.0"] == "0.0001"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.5), (11, 0.5)]
    assert "accuracy mine _ yours" in run.data.metrics
    assert "bad" not in run.data.metrics
    assert run.data.tags["note"] == "step 11: stage 1"


def test_tensorboard_writes_events_and_forgets_steps_that_come_again(
    make_use: Make, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is optional")
    use = make_use("logger", "tensorboard")
    for first, losses in ((0, [0.5, 0.4, 0.3]), (1, [0.2, 0.1])):  # goes on after step 1
        logger = use.create()
        logger.start(info(tmp_path, first))
        for step, loss in enumerate(losses, start=first + 1):
            logger.log(step, {"loss": loss, "accuracy": 100 * loss})
        logger.note(first + 1, "стадия 1")
        logger.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {
        name: [(e.step, e.value) for e in events.Scalars(name)] for name in ("loss", "accuracy")
    }
    assert found["loss"] == [(1, 0.5), (2, pytest.approx(0.2)), (3, pytest.approx(0.1))]
    assert found["accuracy"][-1] == (3, pytest.approx(10))
    notes = events.Tensors("notes/text_summary")
    assert [note.tensor_proto.string_val[0].decode() for note in notes] == ["стадия 1"] * 2


def test_csv_has_a_row_for_each_number_and_goes_on(make_use: Make, tmp_path: Path) -> None:
    use = make_use("logger", "csv")
    for step, values in ((0, {"loss": 0.1, "a, b": math.nan}), (5, {"accuracy accent": 91.25})):
        logger = use.create()
        logger.start(info(tmp_path, step))
        logger.log(step + 1, values)
        logger.close()
        logger.close()
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").splitlines() == [
        "step,name,value",
        "1,loss,0.1",
        '1,"a, b",nan',
        "6,accuracy accent,91.25",
    ]
