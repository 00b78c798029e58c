"""Workers on a real, local Ray cluster of three slots: errors and missing room end all of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cli import main
from engine.errors import TrainingError
from engine.train.ray_workers import Need, Workers, check_machine, failure

from .test_processes import ENVIRONMENT, write_config

ray = pytest.importorskip("ray", reason="ray is optional")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cluster(ray_cluster: Any) -> None:
    """All tests here need it."""


def actor() -> type:
    """A class that Ray sends to its workers whole: they cannot import this module."""

    class Actor:
        def do(self, what: str) -> dict[str, Any]:
            import os
            import time

            if what == "error":
                return {"error": "the loss is nan", "hint": "a lower lr"}
            if what == "raise":
                raise ValueError("not what it should be\nsecond line")
            if what == "die":
                os._exit(3)
            if what == "hang":
                time.sleep(600)
            if what == "follows":
                return {"error": "another process ended", "hint": None, "follows": True}
            if what == "late":
                time.sleep(1.5)
                return {"error": "the reason", "hint": "known by this one"}
            return {"done": what}

    return Actor


def run(*what: str) -> list[dict[str, Any]]:
    grace = 20.0 if "late" in what else 0.5  # what comes late must come; what hangs never does
    with Workers(ray, actor(), len(what), Need()) as workers:
        return workers.together(
            lambda number, one: one.do.remote(what[number]), grace=grace, tick=0.2
        )


def free() -> float:
    """Slots that nobody holds; what was killed is given back in a moment."""
    for _ in range(100):
        if ray.available_resources().get("CPU", 0) == 3:
            break
        time.sleep(0.1)
    return float(ray.available_resources().get("CPU", 0))


def test_answers_come_in_the_order_of_the_workers() -> None:
    assert run("a", "b", "c") == [{"done": "a"}, {"done": "b"}, {"done": "c"}]
    assert free() == 3


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (("error", "hang", "hang"), "a worker on Ray: the loss is nan"),
        (("hang", "hang", "error"), "a worker on Ray: the loss is nan"),
        (("hang", "raise"), "ValueError: not what it should be"),
        (("die", "hang"), "a worker on Ray failed: "),
        (("a", "die"), "a worker on Ray failed: "),
        (("a", "error", "b"), "the loss is nan"),
        (("raise", "late", "hang"), "a worker on Ray: the reason"),
        (("die", "late"), "a worker on Ray: the reason"),
        (("follows", "die"), "a worker on Ray failed: "),
        (("follows", "late", "follows"), "a worker on Ray: the reason"),
    ],
)
def test_the_first_error_ends_all_workers(what: tuple[str, ...], words: str) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        run(*what)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert free() == 3


@pytest.mark.parametrize(
    ("count", "need", "words"),
    [
        (4, Need(), "4 workers of 1 CPU each: 4 CPU are needed, 3 are there"),
        (2, Need(cpus=2), "2 workers of 2 CPU each: 4 CPU are needed, 3 are there"),
        (1, Need(gpus=1), "1 workers of 1 CPU and 1 GPU each: 1 GPU is needed, 0 are there"),
        (9, Need(gpus=1), "9 CPU are needed, 3 are there; 9 GPU are needed, 0 are there"),
    ],
)
def test_missing_room_is_reported_and_not_waited_for(count: int, need: Need, words: str) -> None:
    with (
        pytest.raises(TrainingError, match=words) as caught,
        Workers(ray, actor(), count, need, patience=600),
    ):
        raise AssertionError("they have no room")
    assert "--workers" in (caught.value.hint or "")
    assert free() == 3


def test_a_cluster_that_may_grow_is_given_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with (
        pytest.raises(TrainingError, match="4 CPU are needed, 3 are there"),
        Workers(ray, actor(), 4, Need(), patience=0.5),
    ):
        raise AssertionError("they have no room")
    assert free() == 3


def test_slots_that_others_hold_are_missing_too() -> None:
    with (
        Workers(ray, actor(), 2, Need()),
        pytest.raises(TrainingError, match="2 CPU are needed, 1 is there"),
        Workers(ray, actor(), 2, Need(), patience=0.5),
    ):
        raise AssertionError("they have no room")
    assert free() == 3


@pytest.mark.parametrize("address", ["", "auto"])
def test_a_task_larger_than_any_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    check_machine(ray, 3)
    with pytest.raises(TrainingError, match="a task of 4 CPUs: the largest has 3"):
        check_machine(ray, 4, patience=0.5)
    assert free() == 3


def test_ctrl_c_ends_the_workers() -> None:
    with pytest.raises(KeyboardInterrupt), Workers(ray, actor(), 3, Need()):
        raise KeyboardInterrupt
    assert free() == 3


def test_errors_of_ray_in_one_line() -> None:
    error = failure(RuntimeError("first\n\nlast line\n"))
    assert error.message == "a worker on Ray failed: RuntimeError: last line"
    assert failure(RuntimeError()).message == "a worker on Ray failed: RuntimeError"


def never_learning(folder: Path) -> Path:
    stage = {
        "name": "a", "trains": {"text": {"blocks": "last 2"}}, "epochs": 2, "batch_size": 15,
        "optimizer": {"use": "adamw", "lr": 1e39},
    }  # fmt: skip
    return write_config(folder, stages=[stage], max_scale=1e30)


def test_the_command_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = never_learning(tmp_path)
    monkeypatch.setattr(sys, "argv", ["engine", "train", str(path), "-o", str(tmp_path / "run"),
                                      "--on", "ray", "--workers", "2"])  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main.run()
    _, errors = capfd.readouterr()
    assert stop.value.code == 2, errors[-3000:]
    assert "a worker on Ray: stage 1" in " ".join(errors.split())
    assert "Traceback" not in errors


def test_a_cluster_of_its_own_ends_with_the_reason(tmp_path: Path) -> None:
    path = never_learning(tmp_path)
    command = [sys.executable, "-m", "engine", "train", str(path), "-o", str(tmp_path / "run"),
               "--on", "ray", "--workers", "500"]  # fmt: skip
    environment = {**ENVIRONMENT, "RAY_USAGE_STATS_ENABLED": "0"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "no room for 500 workers" in " ".join(done.stderr.split()), done.stderr[-3000:]
    assert "Traceback" not in done.stderr
