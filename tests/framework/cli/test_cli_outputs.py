"""Outputs never replace what the same command reads; full disks and signals are reported."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import LITTLE

Engine = Callable[..., tuple[int, str, str]]

CONFIG = f"""\
{LITTLE}train:
  threads: 1
  device: cpu
  loggers: []
  stages:
    - {{name: one, trains: {{text: true}}, epochs: 400, batch_size: 8}}
"""


@pytest.fixture
def model(engine: Engine, tmp_path: Path) -> Path:
    """little.yaml, the model `m` built of it, and data `d` with its truth."""
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    assert engine("build", "little.yaml", "-o", "m")[0] == 0
    made = engine("data", "make", "shapes", "d", "--set", "count=12", "--set", "size=16")
    assert made[0] == 0
    return tmp_path


def test_what_is_read_is_never_replaced(engine: Engine, model: Path) -> None:
    os.link("d/test/gt.json", "hard.json")
    Path("link.json").symlink_to("d/test/gt.json")
    name = next(path.name for path in Path("d/test").iterdir() if path.is_dir())
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    places = ["d/test/gt.json", "hard.json", "link.json", "d/test/../test/gt.json", "m/config.yaml",
              f"d/test/{name}/classes.json",
              str(next(Path(f"d/test/{name}/img").iterdir()))]  # fmt: skip
    for command in ("eval", "predict"):
        for place in places:
            code, _, err = engine(command, "m", "d/test", "-o", place)
            assert code == 2, (command, place)
            assert "is read by this command" in err
    code, _, err = engine("eval", "m", "d/test", "-o", "p", "--html", "p")
    assert (code, "are the same file" in err) == (2, True)
    code, _, err = engine("data", "stats", "d/train", "--html", "d/train/metadata.json")
    assert (code, "is read by this command" in err) == (2, True)
    assert {p: p.read_bytes() for p in before} == before
    for _ in range(2):  # its own earlier output is replaced
        assert engine("predict", "m", "d/test", "-o", "d/test/p.json")[0] == 0


@pytest.mark.parametrize("place", ["mine.txt", "train/images/mine.jpg", "test/mine/deep.txt"])
def test_made_data_is_replaced_only_where_nothing_was_added(
    engine: Engine, model: Path, place: str
) -> None:
    make = ("data", "make", "shapes", "d", "--set", "count=12", "--set", "size=16")
    code, _, err = engine(*make)
    assert code == 2
    assert "`--force` replaces it" in err
    assert engine(*make, "--force")[0] == 0
    (model / "d" / place).parent.mkdir(exist_ok=True)
    (model / "d" / place).write_text("mine")
    code, _, err = engine(*make, "--force")
    assert code == 2
    assert "also holds" in err
    assert "mine" in err
    assert (model / "d" / place).read_text() == "mine"
    assert not [p.name for p in model.iterdir() if p.name.startswith(".")]


def test_a_folder_of_another_program_with_an_engine_json_is_left_alone(
    engine: Engine, model: Path
) -> None:
    game = model / "game"
    game.mkdir()
    (game / "engine.json").write_text('{"name": "another engine"}')
    (game / "level.dat").write_text("work of years")
    code, _, err = engine("build", "little.yaml", "-o", "game")
    assert (code, "is not an artifact" in err) == (2, True)
    assert (game / "level.dat").read_text() == "work of years"
    (model / "m" / "notes.txt").write_text("mine")
    code, _, err = engine("build", "little.yaml", "-o", "m")
    assert (code, "also holds notes.txt" in err) == (2, True)


CLUSTERS = [
    "--set", "clusters={most_frequent: 60, embedder: {use: tfidf_svd, width: 8},"
    " clusterer: {use: agglomerative_knn, count: 4}}",
]  # fmt: skip
LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    "from engine.cli.main import run; run()"
)


@pytest.mark.parametrize(
    "command",
    [
        ["build", "little.yaml", "-o", "new"],
        ["build", "little.yaml", "-o", "m"],
        ["train", "little.yaml", "-o", "run"],
        ["cluster", "fit", "little.yaml", "-o", "c", *CLUSTERS],
        pytest.param(["export", "m", "--to", "onnx", "-o", "x"], marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_takes_no_more_is_reported_in_one_line(model: Path, command: list[str]) -> None:
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=3000), *command],
        capture_output=True, text=True, timeout=120, cwd=model,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"error: .*cannot be written: .*(File too large|os error 27)", done.stderr)
    assert "make room on the disk" in done.stderr
    assert {p: p.read_bytes() for p in model.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_in_order(model: Path, name: str) -> None:
    number = getattr(signal, name)
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "train", "little.yaml", "-o", "run"],
        stderr=subprocess.PIPE, text=True, cwd=model,
    )  # fmt: skip
    history = model / "run" / "history.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and (not history.exists() or not history.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "stopped; the same command with `--resume`" in err
    assert "Traceback" not in err
    assert not [p.name for p in (model / "run").iterdir() if p.name.startswith(".")]
    assert list((model / "run" / "checkpoints").iterdir())
    assert json.loads((model / "run" / "start" / "engine.json").read_text())


STUCK = """
import sys, time
from pathlib import Path
import engine.core.artifact
from engine.cli import build, main

def save(built, folder):
    with engine.core.artifact.writing(folder) as temporary:
        (temporary / "half").touch()
        print("there", flush=True)
        time.sleep(60)

import engine.core.build
engine.core.build.save = save
sys.argv = ["engine", "build", "little.yaml", "-o", "m"]
main.run()
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_while_a_folder_is_written_leaves_nothing(model: Path, name: str) -> None:
    number = getattr(signal, name)
    before = sorted(p.name for p in model.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=model,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "stopped; nothing half-written is left" in err
    assert sorted(p.name for p in model.iterdir()) == before


def test_a_hangup_that_is_ignored_stays_ignored(model: Path) -> None:
    """`nohup engine train ...` goes on when the terminal is closed."""
    program = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from engine.core.signals import ending_in_order\n"
        "with ending_in_order(): os.kill(os.getpid(), signal.SIGHUP); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "alive\n"
