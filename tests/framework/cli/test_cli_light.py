"""The light installation: what a CI needs works with five small packages and nothing else.

A finder in front of all others refuses every other import, numpy's and PyTorch's among them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.core.config import load_config
from engine.core.registry import default_registry
from engine.core.size import config_size

from ..conftest import CONFIG

Engine = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "configs").glob("**/*.yaml")
    if path.read_text(encoding="utf-8").find("\nmodel:") >= 0 or "extends:" in path.read_text()
)  # fmt: skip
STORAGES = [found.plugin.name for found in default_registry().all("storage")]

BLOCKED = """\
import os, sys
allowed = {
    "engine", "engine_plugins", "pydantic", "pluggy", "yaml", "typer", "rich",
    # What pip installs with these five.
    "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "click",
    "shellingham", "pygments", "markdown_it", "mdurl", "annotated_doc", "colorama", "_yaml",
}

class Refuses:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first in allowed or first in sys.stdlib_module_names:
            return None
        if first.startswith(("_sysconfigdata", "__editable__", "_distutils")):
            return None
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuses())
from engine.cli.main import run
codes = []
for line in ARGUMENTS:
    sys.argv = ["engine", *line]
    try:
        run()
        codes.append(0)
    except SystemExit as stop:
        codes.append(stop.code or 0)
loaded = {name.partition(".")[0] for name in sys.modules}
heavy = {"torch", "numpy", "safetensors", "PIL", "open_clip", "timm", "transformers"} & loaded
assert not heavy, heavy
print(codes, file=sys.stderr)
"""


def light(*lines: Sequence[str]) -> tuple[str, str]:
    """Run commands in one process with nothing but the five; gives stdout and stderr."""
    code = BLOCKED.replace("ARGUMENTS", repr([list(map(str, line)) for line in lines]))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def test_plugins_and_schema() -> None:
    out, err = light(["plugins", "--json"], ["--help"], ["schema"], ["plugins", "storage"])
    assert err.strip() == "[0, 0, 0, 0]"
    plugins = json.loads(out.splitlines()[0])
    assert not plugins["broken"]
    assert not [one["name"] for one in plugins["plugins"] if "error" in one]


def test_the_sizes_of_every_config_are_those_of_a_full_installation() -> None:
    assert len(CONFIGS) > 15
    lines = [["size", path, "--json", "--set", "limits.weights=null"] for path in CONFIGS]
    out, err = light(*lines)
    assert err.strip() == str([0] * len(CONFIGS))
    for path, line in zip(CONFIGS, out.splitlines(), strict=True):
        (found,) = json.loads(line)["models"]
        assert (found["path"], found["kind"]) == (path, "config")
        assert found["bytes"] == config_size(load_config(ROOT / path)).total, path


def test_every_storage_has_a_plan_without_numpy() -> None:
    assert {"int8_rows", "pq", "float16"} <= set(STORAGES)
    config = "configs/tiny/sber.yaml"
    out, err = light(
        *(["size", config, "--json", "--set", f"storage.default={name}"] for name in STORAGES)
    )
    assert err.strip() == str([0] * len(STORAGES))
    for name, line in zip(STORAGES, out.splitlines(), strict=True):
        found = json.loads(line)["models"][0]["bytes"]
        full = config_size(load_config(ROOT / config, [f"storage.default={name}"])).total
        assert found == full, name


def test_an_artifact_and_what_changed(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG, encoding="utf-8")
    assert engine("build", "small.yaml", "-o", "model")[0] == 0
    artifact, last = tmp_path / "model", tmp_path / "last.json"
    out, err = light(["size", str(artifact), "--json"])
    assert err.strip() == "[0]"
    found = json.loads(out)["models"][0]
    assert found["kind"] == "artifact"
    assert found["bytes"] == (artifact / "model.safetensors").stat().st_size
    last.write_text(out)
    out, err = light(
        ["size", str(artifact), "--base", str(last), "--format", "md"],
        ["size", str(artifact), "--format", "badge", "--limit", "1kB"],
    )
    assert "no change" in out
    assert "[0, 1]" in err


def test_a_part_without_a_plan_says_which_package_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    text = (ROOT / "configs" / "tiny" / "organisers_baseline.yaml").read_text(encoding="utf-8")
    config.write_text(text.replace("arch: test_resnet", "arch: test_convnext"))
    _, err = light(["size", str(config)])
    assert "needs the package torch" in err.replace("\n", " ")
    assert "[2]" in err
