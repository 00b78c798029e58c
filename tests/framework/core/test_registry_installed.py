"""A third party's package, installed as pip would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = """\
from engine.contracts.hooks import Plugin, hookimpl

ENGINE_API = "2.0"

@hookimpl
def engine_plugins():
    return [Plugin("dataset", "theirs", "their_package.data:Theirs",
                   "their_package.settings:TheirSettings", "from far away")]
"""
SETTINGS = """\
from pydantic import Field
from engine.contracts import DatasetSettings

class TheirSettings(DatasetSettings):
    depth: int = Field(3, ge=1, description="how deep")
"""


def install(folder: Path, name: str, files: dict[str, str]) -> None:
    """Lay a package down as an installer does: its modules, and a ``.dist-info`` folder."""
    module = name.replace("-", "_")
    (folder / module).mkdir(parents=True)
    for file, text in files.items():
        (folder / module / file).write_text(text, encoding="utf-8")
    info = folder / f"{module}-4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.2\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[engine]\n{module} = {module}\n", encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line in an environment with one good package more, and one that is broken."""
    install(tmp_path, "their-package", {"__init__.py": PACKAGE, "settings.py": SETTINGS})
    install(tmp_path, "sad-package", {"__init__.py": "import a_module_that_nobody_has\n"})
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "120"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from engine.cli.main import run; run()"
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip

    return call


def test_a_third_partys_package(
    installed: Callable[..., subprocess.CompletedProcess[str]], root: Path, tmp_path: Path
) -> None:
    done = installed("plugins", "--json")
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    (theirs,) = [row for row in loaded["plugins"] if row["name"] == "theirs"]
    assert (theirs["distribution"], theirs["version"]) == ("their-package", "4.2")
    assert [row["name"] for row in theirs["settings"]] == ["depth"]
    (broken,) = loaded["broken"]
    assert broken["distribution"] == "sad-package"
    assert "a_module_that_nobody_has" in broken["error"]

    done = installed("plugins")
    assert done.returncode == 0
    for words in (
        "theirs",
        "their-package 4.2",
        "BROKEN",
        "sad-package 4.2",
        "nobody_has",
        "shapes",
    ):
        assert words in done.stdout

    done = installed("schema")
    assert done.returncode == 0
    assert "depth" in json.loads(done.stdout)["$defs"]["dataset.theirs"]["properties"]
    assert "sad-package" in done.stderr

    config = str(root / "configs" / "tiny" / "clip_openai.yaml")
    for use, said in (("{use: theirs, depth: 0}", "data.train.depth"), ("their", "`theirs`")):
        done = installed("size", config, "--set", f"data.train={use}")
        assert done.returncode == 2
        assert said in done.stderr
    done = installed("size", config, "--set", "data.train={use: theirs, depth: 5}")
    assert done.returncode == 0, done.stderr
