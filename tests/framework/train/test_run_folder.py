"""A run's folder: every state that a kill can leave has a command that continues."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.core.artifact import read_manifest
from engine.core.config.schema import EngineConfig
from engine.core.files import locked, steps
from engine.errors import ArtifactError, DataError, EngineError, TrainingError, WriteError
from engine.train.folder import is_run
from engine.train.history import read_history
from engine.train.run import train

Make = Callable[..., EngineConfig]
QUICK = ("train.stages.0.epochs=1", "train.cache.use=false")
STEPS = ("replace", "move", "exchange", "remove", "remove_tree", "sync_folder")


class KilledError(BaseException):
    """The process is gone; no handler of errors sees it."""


@contextlib.contextmanager
def dying(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Within it the process dies at its n-th lasting step; says whether it came to that."""
    dead: list[bool] = []
    left = [at]

    def wrapped(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            left[0] -= 1
            if dead:
                raise KilledError
            if left[0] == 0:
                dead.append(True)
                raise KilledError
            return act(*args)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(KilledError):
        for name in STEPS:
            patch.setattr(steps, name, wrapped(getattr(steps, name)))
        yield dead


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def tidy(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    beside = {path.name for path in folder.parent.iterdir()}
    return not any(name.startswith(".") for name in names | beside)


def go_on(config: EngineConfig, folder: Path, *, force: bool = False) -> None:
    """Give the same command again, and what its message names."""
    if not force and is_run(folder):  # also where it is whole and has yet to be moved
        with pytest.raises(TrainingError, match="holds a run already") as caught:
            train(config, folder)
        assert "`--resume` goes on with it" in str(caught.value.hint)
        train(config, folder, resume=True)
        return
    train(config, folder, force=force)


@pytest.fixture
def whole(make_config: Make, tmp_path: Path) -> tuple[EngineConfig, bytes]:
    """A config, and the weights of its undisturbed run."""
    config = make_config(*QUICK)
    folder = tmp_path / "whole" / "run"
    train(config, folder)
    assert tidy(folder)
    return config, weights(folder)


def test_a_start_that_is_killed_at_any_step_goes_on(
    whole: tuple[EngineConfig, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, expected = whole
    folder = tmp_path / "at" / "run"
    at = 1
    while True:
        shutil.rmtree(tmp_path / "at", ignore_errors=True)
        with dying(at, monkeypatch) as dead:
            train(config, folder)
        if not dead:
            break
        go_on(config, folder)
        assert weights(folder) == expected, at
        assert tidy(folder), at
        at += 4
    assert at > 12


def test_a_replacement_that_is_killed_at_any_step_loses_nothing(
    whole: tuple[EngineConfig, bytes], tmp_path: Path, make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, expected = whole
    old = tmp_path / "old" / "run"
    train(make_config(*QUICK, "seed=5"), old)
    before = weights(old)
    assert before != expected
    at, kept = 1, 0
    while True:
        shutil.rmtree(tmp_path / "at", ignore_errors=True)
        folder = tmp_path / "at" / "run"
        shutil.copytree(old.parent, folder.parent)
        with dying(at, monkeypatch) as dead:
            train(config, folder, force=True)
        if not dead:
            break
        if (folder / "model").is_dir():
            kept += weights(folder) == before
            read_manifest(folder / "model")
        go_on(config, folder, force=True)
        assert weights(folder) == expected, at
        assert tidy(folder), at
        at += 7
    assert kept >= 2


def misspelt(config: EngineConfig, patch: pytest.MonkeyPatch) -> EngineConfig:
    def broken(self: object) -> None:
        raise DataError("no such data")

    assert config.data.train is not None
    patch.setattr(type(config.data.train), "create", broken)
    return config


def full_disk(config: EngineConfig, patch: pytest.MonkeyPatch) -> EngineConfig:
    import safetensors

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr(safetensors, "serialize_file", full)
    return config


def diverging(config: EngineConfig, patch: pytest.MonkeyPatch) -> EngineConfig:
    from engine.train.step import Step

    real = Step.run

    def run(self: Any, *args: Any) -> Any:
        measured = real(self, *args)
        measured.loss.fill_(float("nan"))
        return measured

    patch.setattr(Step, "run", run)
    return config


def interrupted(config: EngineConfig, patch: pytest.MonkeyPatch) -> EngineConfig:
    from engine.train.loop import Trainer

    def stop(self: Any, *args: Any) -> None:
        raise KeyboardInterrupt

    patch.setattr(Trainer, "_begin", stop)
    return config


@pytest.mark.parametrize("trouble", [misspelt, full_disk, diverging, interrupted])
@pytest.mark.parametrize("old", [True, False])
def test_a_new_run_that_does_not_start_leaves_the_old_one(
    make_config: Make, tmp_path: Path, trouble: Any, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = make_config(*QUICK), tmp_path / "at" / "run"
    if old:
        train(make_config(*QUICK, "seed=5"), folder)
        (folder / "notes.txt").write_text("mine")
    before = {
        p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and "cache" not in p.parts
    }
    with monkeypatch.context() as patch, pytest.raises((EngineError, KeyboardInterrupt)) as caught:
        train(trouble(config, patch), folder, force=old)
    if trouble is full_disk:
        assert isinstance(caught.value, (WriteError, TrainingError))
        assert "No space left" in str(caught.value)
    if old:
        after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert {p: after.get(p) for p in before} == before
        assert tidy(folder)
    elif trouble is not diverging:  # that one has begun: `--resume` or `--force`
        assert not folder.exists()
    train(config, folder, force=True)
    assert (folder / "notes.txt").exists() == old


def test_two_processes_on_one_run(make_config: Make, tmp_path: Path) -> None:
    config, folder = make_config(*QUICK), tmp_path / "run"
    train(config, folder)
    with locked(folder / ".lock", "test"):
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(TrainingError, match=f"in use by another.*process {os.getpid()} on"):
                train(config, folder, **how)
    train(config, folder, resume=True)
    assert tidy(folder)


@pytest.mark.parametrize("place", ["model/mine.txt", "start/mine.txt", "checkpoints/mine.txt",
                                   "checkpoints/step-00000003/mine.txt"])  # fmt: skip
def test_force_never_removes_what_no_training_wrote(
    make_config: Make, tmp_path: Path, place: str
) -> None:
    config, folder = make_config(*QUICK), tmp_path / "run"
    train(config, folder)
    (folder / place).write_text("mine")
    with pytest.raises((TrainingError, ArtifactError), match=r"also holds .*mine\.txt"):
        train(config, folder, force=True)
    assert (folder / place).read_text() == "mine"
    read_history(folder)


@pytest.mark.parametrize("left", [[], [".lock"], [".starting/start", ".starting/checkpoints"]])
def test_what_a_killed_start_left_is_no_obstacle(
    make_config: Make, tmp_path: Path, left: list[str]
) -> None:
    config, folder = make_config(*QUICK), tmp_path / "run"
    folder.mkdir()
    for name in left:
        if name == ".lock":
            (folder / name).touch()
        else:
            (folder / name).mkdir(parents=True)
    with pytest.raises(TrainingError, match="is not a run to go on with") as caught:
        train(config, folder, resume=True)
    assert "without `--resume`" in str(caught.value.hint)
    train(config, folder, force=True)
    assert tidy(folder)


def test_a_run_whose_history_is_gone_still_is_one(make_config: Make, tmp_path: Path) -> None:
    config, folder = make_config(*QUICK), tmp_path / "run"
    train(config, folder)
    (folder / "history.jsonl").unlink()
    with pytest.raises(TrainingError, match="holds a run already"):
        train(config, folder)
    train(config, folder, resume=True)


@pytest.mark.parametrize("every", ["step", "best"])
def test_scores_survive_a_kill_between_the_last_evaluation_and_the_end_of_the_stage(
    make_config: Make, tmp_path: Path, every: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.train.loop import Trainer

    more = ("train.save_steps=1",) if every == "step" else ()
    config, folder = make_config(*QUICK, *more), tmp_path / "run"

    def evaluator(built: Any) -> Any:
        return lambda: {"accuracy": 25.0, "mean_recall": 20.0}

    def killed(self: Any, stage: Any) -> None:
        raise KilledError

    whole, _ = train(config, tmp_path / "whole", evaluator=evaluator)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(Trainer, "_end_stage", killed)
        train(config, folder, evaluator=evaluator)
    built, _ = train(config, folder, resume=True, evaluator=evaluator)
    assert built.manifest["scores"] == {"accuracy": 25.0, "mean_recall": 20.0}
    (stage,), (other,) = built.manifest["stages"], whole.manifest["stages"]
    for key in ("loss", "scores", "steps", "epochs"):
        assert stage[key] == other[key], key
    assert len(read_history(folder).stages) == 1
