"""Successive halving: the optimum with few steps, nothing trained twice, nothing lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine.sweep.run as sweep_run
from engine.core.artifact import read_manifest
from engine.core.config import load_config
from engine.errors import ConfigError, DataError, TrainingError
from engine.sweep.page import page
from engine.sweep.report import TrialRow
from engine.sweep.run import planned, run_sweep
from engine.train.run import train

from .test_settings import LITTLE, sweep_of

RATES = [1.0e-5, 1.0e-4, 1.0e-3, 1.0e-2, 3.0e-2, 1.0]
TINY = Path(__file__).parents[3] / "configs" / "tiny" / "digits.yaml"
LR = "train.stages.0.optimizer.lr"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "little.yaml"
    path.write_text(json.dumps(LITTLE), encoding="utf-8")
    return path


Scores = Callable[[float, float], float]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scores], None]:
    """Evaluations that follow from the learning rate and the trained share alone."""

    def set_(score: Scores) -> None:
        def evaluator(built: Any) -> Any:
            at = built.manifest["training"]
            rate = built.config.train.stages[0].optimizer.settings.lr
            seed = built.config.seed
            return lambda: {"accuracy": score(rate, at["step"] / at["steps"]) + seed / 10}

        monkeypatch.setattr(sweep_run, "evaluator_of", evaluator)

    return set_


def steps_of(folder: Path) -> list[int]:
    """The steps that a run's history names, in order; one that stands twice was trained twice."""
    lines = (folder / "history.jsonl").read_text("utf-8").splitlines()
    return [line["step"] for line in map(json.loads, lines) if "lr" in line and "epoch" in line]


def test_half_of_the_steps_find_the_optimum_of_the_grid(
    config: Path, scored: Callable[[Scores], None]
) -> None:
    """Scores are given, so the optimum is known: 0.01; no step is trained twice."""
    scored(lambda rate, share: 60 - abs(RATES.index(rate) - 3) * 5 + 20 * share)
    sweep = sweep_of(
        config=config, keys={LR: RATES}, set={"train.log_every": 1},
        halving={"rungs": 3, "factor": 3},
    )  # fmt: skip
    report = run_sweep(sweep, Path("out"))
    assert report.best is not None
    assert report.best.values[LR] == 1e-2
    assert report.trained <= report.whole / 2
    assert [row.status for row in report.rows].count("finished") == 1
    assert [row.status for row in report.rows].count("stopped") == 4
    for folder in Path("out/trials").iterdir():
        seen = steps_of(folder)
        assert seen == sorted(set(seen))
    assert report.model is not None
    assert read_manifest(report.model)["training"] == {"step": 9, "steps": 9}
    assert report.whole == 6 * 9


@pytest.mark.slow
def test_real_scores_find_what_training_everything_finds(config: Path) -> None:
    """Nothing is replaced: rates that cannot train at all and one that can."""
    rates: dict[str, Any] = {"config": TINY, "keys": {LR: [1e-8, 1e-7, 2e-3, 1e-6]}}
    rates["set"] = {
        "train.stages.0.epochs": 3, "train.stages.0.batch_size": 64, "train.threads": 1,
        "train.cache.use": False, "data.train.size": 32, "data.evaluate.0.size": 32,
        "model.vision.image_size": 32,
    }  # fmt: skip
    halving = {"rungs": 2, "factor": 4, "finalists": 1}
    short = run_sweep(sweep_of(**rates, halving=halving), Path("out"))
    whole = run_sweep(sweep_of(**rates, halving={"rungs": 1}), Path("all"))
    assert short.best is not None
    assert whole.best is not None
    assert short.best.values == whole.best.values
    assert short.best.result == whole.best.result
    assert short.best.values[LR] == 2e-3
    assert short.best.result is not None
    assert short.best.result > 20  # of ten classes
    assert short.trained <= whole.trained / 2


def test_the_winner_equals_a_training_without_pauses(config: Path) -> None:
    report = run_sweep(sweep_of(config=config, keys={LR: [1e-3, 1e-2]}), Path("out"))
    assert report.model is not None
    assert report.best_config is not None
    found = load_config(report.best_config)
    train(found, Path("straight"))
    ours = (report.model / "model.safetensors").read_bytes()
    assert ours == Path("straight/model/model.safetensors").read_bytes()


@pytest.mark.parametrize("broken_after", [1, 5])
def test_what_is_broken_off_goes_on_and_repeats_nothing(
    config: Path, scored: Callable[[Scores], None], monkeypatch: pytest.MonkeyPatch,
    broken_after: int,
) -> None:  # fmt: skip
    scored(lambda rate, share: RATES.index(rate) + share)
    sweep = sweep_of(config=config, keys={LR: RATES[:4]}, set={"train.log_every": 1})
    straight = run_sweep(sweep, Path("straight"))
    calls: list[Path] = []

    def counted(settings: Any, folder: Path, **more: Any) -> Any:
        if len(calls) == broken_after:
            calls.append(folder)
            raise KeyboardInterrupt
        calls.append(folder)
        return train(settings, folder, **more)

    monkeypatch.setattr(sweep_run, "train", counted)
    with pytest.raises(KeyboardInterrupt) as stop:
        run_sweep(sweep, Path("out"))
    assert stop.value.__notes__ == [
        "what is done is kept; the same command goes on with what is left"
    ]
    statuses = {each["status"] for each in json.loads(Path("out/sweep.json").read_text())["trials"]}
    assert "paused" in statuses or broken_after == 6
    again = run_sweep(sweep, Path("out"))
    assert again.to_json() | {"model": "", "best_config": ""} == straight.to_json() | {
        "model": "", "best_config": "",
    }  # fmt: skip
    total = 4 + 2 + 2
    assert len(calls) == total + 1  # the one that was broken off
    for folder in Path("out/trials").iterdir():
        seen = steps_of(folder)
        assert seen == sorted(set(seen))
    assert run_sweep(sweep, Path("out")).to_json() == again.to_json()
    assert len(calls) == total + 1


def test_ctrl_c_within_a_training_saves_it(
    config: Path, scored: Callable[[Scores], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.train.loop import Trainer

    scored(lambda rate, share: RATES.index(rate) + share)
    sweep = sweep_of(config=config, keys={LR: RATES[:2]}, halving={"rungs": 1})
    real, asked = Trainer._step, []

    def step(self: Trainer, *arguments: Any) -> Any:
        if self.state.at.step == 4 and not asked:
            asked.append(True)
            signal.raise_signal(signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", step)
    with pytest.raises(KeyboardInterrupt) as stop:
        run_sweep(sweep, Path("out"))
    assert "the same command goes on" in stop.value.__notes__[0]
    report = run_sweep(sweep, Path("out"))
    assert report.trained == 18
    straight = run_sweep(sweep, Path("straight"))
    assert straight.model is not None
    assert report.model is not None
    assert (straight.model / "model.safetensors").read_bytes() == (
        report.model / "model.safetensors"
    ).read_bytes()


def test_no_trial_above_the_limit_is_trained(
    config: Path, scored: Callable[[Scores], None]
) -> None:
    scored(lambda rate, share: 50.0)
    sweep = sweep_of(
        config=config, keys={"model.text.width": [8, 64, 16]}, limit="60 kB",
        halving={"rungs": 1},
    )  # fmt: skip
    report = run_sweep(sweep, Path("out"))
    names = sorted(path.name[:3] for path in Path("out/trials").iterdir())
    assert names == ["001", "003"]
    for folder in Path("out/trials").glob("*/model/model.safetensors"):
        assert folder.stat().st_size <= 60_000
    assert [row.number for row in report.rows if row.status == "refused"] == [2]
    assert planned(sweep, Path("out")).rows[1].status == "refused"


def test_a_trial_that_fails_is_a_row_and_the_others_go_on(
    config: Path, scored: Callable[[Scores], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(lambda rate, share: RATES.index(rate) + share)

    def failing(settings: Any, folder: Path, **more: Any) -> Any:
        if settings.train.stages[0].optimizer.settings.lr == RATES[2]:
            raise TrainingError("the loss is not a number")
        return train(settings, folder, **more)

    monkeypatch.setattr(sweep_run, "train", failing)
    report = run_sweep(sweep_of(config=config, keys={LR: RATES[:3]}), Path("out"))
    assert report.best is not None
    assert report.best.values[LR] == RATES[1]
    failed = [row for row in report.rows if row.status == "failed"]
    assert [row.why for row in failed] == ["seed 0: the loss is not a number"]


def test_a_score_that_is_not_measured_is_named(
    config: Path, scored: Callable[[Scores], None]
) -> None:
    scored(lambda rate, share: 1.0)
    sweep = sweep_of(config=config, keys={LR: RATES[:2]}, score="acuracy")
    with pytest.raises(ConfigError, match="no score `acuracy`; it gives `accuracy`"):
        run_sweep(sweep, Path("out"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_score_that_is_not_finite_never_wins(
    config: Path, scored: Callable[[Scores], None], bad: float, better: str
) -> None:
    scored(lambda rate, share: bad if rate == RATES[0] else 5.0)
    sweep = sweep_of(
        config=config, keys={LR: RATES[:2]}, better=better,
        halving={"rungs": 2, "factor": 2, "finalists": 1},
    )  # fmt: skip
    report = run_sweep(sweep, Path("out"))
    assert report.best is not None
    assert report.best.values[LR] == RATES[1]


def test_one_sweep_at_a_time(config: Path) -> None:
    from engine.core.files import locked

    sweep = sweep_of(config=config, keys={LR: RATES[:2]})
    Path("out").mkdir()
    with locked(Path("out") / ".lock", "held"), pytest.raises(DataError, match="another sweep"):
        run_sweep(sweep, Path("out"))


def test_the_page_names_every_trial_and_the_chance(
    config: Path, scored: Callable[[Scores], None]
) -> None:
    scored(lambda rate, share: RATES.index(rate) * 5 + share)
    report = run_sweep(sweep_of(config=config, keys={LR: RATES[:4]}), Path("out"))
    text = page(report)
    assert "<script" not in text.lower() or "http" not in text.lower().split("<script")[1][:200]
    for rate in RATES[:4]:
        assert f"{rate:g}" in text
    assert "one seed" in text
    assert isinstance(report.rows[0], TrialRow)
