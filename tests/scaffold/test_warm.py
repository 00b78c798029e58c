"""A warm command is as a cold one: its arguments, folder, environment, streams and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import warm

SCRIPT = """\
import os, sys
import their_module
print(sys.argv[1:], os.getcwd(), os.environ["ASKED"], "HOME" in os.environ, their_module.x)
print(sys.stdin.read(), "torch" in sys.modules, "engine" in sys.modules, __name__)
print("é\\udc80", file=sys.stderr)
sys.exit({"text": "a text", "three": 3, "none": None}[sys.argv[1]])
"""


@pytest.fixture(scope="module")
def path() -> Iterator[str]:
    libraries = warm.LIBRARIES
    warm.LIBRARIES = ("json.tool", "no_such_library")  # nothing here needs torch
    try:
        with warm.server(sys.executable, os.environ) as path:
            yield path
    finally:
        warm.LIBRARIES = libraries


@pytest.mark.parametrize("end", ["text", "three", "none"])
def test_it_is_what_a_new_python_is(path: str, tmp_path: Path, end: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "their_module.py").write_text("x = 'theirs'\n", encoding="utf-8")
    client = (
        f"import sys; sys.path.insert(0, {str(Path(warm.__file__).parent)!r})\n"
        f"from warm import main_of_a_client as main\nmain({path!r}, sys.argv.pop(1))"
    )
    words = ["script.py", end, "two words"]
    outcomes = []
    for command in ([sys.executable, *words], [sys.executable, "-c", client, *words]):
        done = subprocess.run(
            command, cwd=tmp_path, env={"ASKED": "yes", "LANG": "C.UTF-8"}, capture_output=True,
            text=True, input="from stdin",
        )  # fmt: skip
        outcomes.append((done.returncode, done.stdout, done.stderr))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == {"text": 1, "three": 3, "none": 0}[end]
    assert "from stdin False False __main__" in outcomes[0][1]


def test_a_module_runs_and_an_error_is_an_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text("raise ValueError('no')\n")
    with (tmp_path / "out").open("wb") as out:
        command = warm.Command(
            path, ["-m", "package", "x"], str(tmp_path), os.environ, (0, out.fileno(), out.fileno())
        )
        assert command.wait() == command.poll() == 1
    assert (tmp_path / "out").read_text().endswith("ValueError: no\n")


def test_a_kill_ends_that_process_alone(path: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import time\ntime.sleep(600)\n")
    command = warm.Command(path, ["script.py"], str(tmp_path), os.environ)
    time.sleep(0.05)
    assert command.poll() is None
    command.send_signal(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL
    (tmp_path / "script.py").write_text("raise SystemExit(5)\n")
    assert warm.Command(path, ["script.py"], str(tmp_path), os.environ).wait() == 5
