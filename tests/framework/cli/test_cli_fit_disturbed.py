"""``engine fit`` and ``engine trim`` on a full disk, and killed at any moment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.framework.cli.test_cli_fit import CONFIG

FIT = ["fit", "small", "--limit", "150kB", "--texts", "texts.txt", "-o", "fitted"]
TRIM = ["trim", "small", "--languages", "ru", "-o", "fitted"]

LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    "from engine.cli.main import run; run()"
)

HARNESS = """
import json, os, signal, sys
import torch
import engine.core.build, engine.compress.fit, engine.compress.trim, engine.clusters.building
import engine.cli.progress, engine.compress.report, engine.compress.labelled
from engine.cli import main

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.link", "os.chmod", "os.truncate", "os.rmdir"}


def watched(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    return writes or event in CHANGES


def command(arguments, kill_at, report):
    # In a process of its own: the change number `kill_at` of the disk is not made any more.
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return status
    count = [0]

    def hook(event, values):
        if watched(event, values):
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    out = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.addaudithook(hook)
    sys.argv = ["engine", *arguments]
    code = 0
    try:
        main.run()
    except SystemExit as stop:
        code = stop.code or 0
    if report:
        os.write(report, str(count[0]).encode())
    os._exit(code)


arguments, points = json.loads(sys.argv[1])
reading, writing = os.pipe()
assert command(arguments, -1, writing) == 0, open("out.txt").read()
changes = int(os.read(reading, 20))


def content():
    return {n: open(f"fitted/{n}", "rb").read() for n in ("model.safetensors", "tokenizer.json")}


import shutil
right = content()
killed = whole = 0
chosen = sorted({round(i * (changes - 1) / (points - 1)) for i in range(points)})
for place in chosen:
    shutil.rmtree("fitted")
    status = command(arguments, place, 0)
    killed += os.WIFSIGNALED(status)
    if os.path.exists("fitted"):  # whole or not there
        whole += 1
        assert content() == right
    assert command(arguments, -1, 0) == 0, open("out.txt").read()
    assert content() == right
    left = [n for n in os.listdir(".") if n.startswith(".fitted") and not n.endswith(".lock")]
    assert not left, left
print(json.dumps({"changes": changes, "points": len(chosen), "killed": killed, "whole": whole}))
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "texts.txt").write_text("красный круг\nсиний квадрат\n\nзелёный круг\nкруг\n")
    run(tmp_path, "-m", "engine", "build", "small.yaml", "-o", "small")
    return tmp_path


def run(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        pytest.param(FIT, 3_000, id="losses", marks=pytest.mark.slow),
        pytest.param(FIT, 100_000, id="weights"),
        pytest.param(TRIM, 100_000, id="trim", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_reported_and_nothing_is_lost(
    small: Path, command: list[str], limit: int
) -> None:
    before = files(small)
    done = run(small, "-c", LIMITED.format(limit=limit), *command, code=2)
    assert "Traceback" not in done.stderr
    assert re.search(r"error: .*cannot be written: .*(File too large|os error 27)", done.stderr)
    assert "make room on the disk" in done.stderr
    state = small / ".fitted.fit.json"  # what was measured stays, so that the next one is shorter
    assert {p: data for p, data in files(small).items() if p != state} == before
    run(small, "-m", "engine", *command)
    assert (small / "fitted" / "model.safetensors").stat().st_size > 0
    assert not state.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("command", "points"), [(FIT, 10), (TRIM, 6)], ids=["fit", "trim"])
def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(
    small: Path, command: list[str], points: int
) -> None:
    """SIGKILL before a change of the disk, from the first to the last one."""
    before = files(small)
    done = run(small, "-c", HARNESS, json.dumps([command, points]))
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["killed"] == found["points"] == points
    assert found["changes"] > points
    assert found["whole"] < points
    own = {p: data for p, data in files(small).items() if p in before}
    assert own == before  # the model that was read is as it was
