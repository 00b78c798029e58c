"""The soak in small: a few kills of quick commands, and that it sees what it is there to see."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def soak(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return importlib.import_module("soak")


@pytest.mark.slow
@pytest.mark.parametrize(("command", "kills"), [("build", 4), ("clean", 3), ("download", 3)])
def test_a_few_kills(command: str, kills: int) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "soak.py"), "--kills", str(kills), "--only", command,
         "--seed", "2", "--json"],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == 0
    assert found["kills"] >= kills


def test_two_hundred_kills_go_to_every_command(soak: ModuleType) -> None:
    found = soak.shares(200, None)
    assert sum(found.values()) == 200
    for word in ("build", "train", "bench", "download", "clean", "cluster fit", "import", "export"):
        assert found[word] >= 5
    assert soak.shares(7, "build") == {"build": 7}


@pytest.mark.parametrize("place", ["place/out/.model.x.tmp", "place/.out.lock", "tmp/.engine-x.tmp",
                                   "place/out/spool.old"])  # fmt: skip
def test_leftovers_are_seen(
    soak: ModuleType, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak.os, "environ", dict(os.environ))
    command = soak.COMMANDS[0]
    it = soak.Soak(tmp_path, 0, namespace=False)
    out = tmp_path / "place" / "out"
    out.mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    (out / "a").write_text("x")
    it.expected[command.name] = command.result(out)
    count = soak.Count()
    it._judge(command, out, count)
    assert not count.faults
    (tmp_path / place).touch()
    if place.startswith("place/out"):
        it.expected[command.name] = command.result(out)
    it._judge(command, out, count)
    assert ["left over" in fault for fault in count.faults] == [True]


def test_another_result_is_seen(
    soak: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak.os, "environ", dict(os.environ))
    command = soak.COMMANDS[0]
    it = soak.Soak(tmp_path, 0, namespace=False)
    out = tmp_path / "place" / "out"
    out.mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    it.expected[command.name] = command.result(out)
    (out / "a").write_text("x")
    count = soak.Count()
    it._judge(command, out, count)
    assert count.faults == ["another result than an undisturbed run"]
