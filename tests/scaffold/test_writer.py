"""The packages that the scaffold writes, without installing them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.contracts import KINDS
from engine.errors import PluginError
from engine.scaffold import Names, new_package
from engine.scaffold.writer import kind_of, render

Engine = Callable[..., tuple[int, str, str]]

NAMES = {kind: f"engine-my-{kind_of(kind).file}" for kind in KINDS}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One package of each kind."""
    folder = tmp_path_factory.mktemp("packages")
    return {kind: new_package(name, kind, folder / name).folder for kind, name in NAMES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_package_says_of_itself(kind: str, packages: dict[str, Path]) -> None:
    folder, names = packages[kind], Names.of(NAMES[kind], kind)
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["name"] == names.distribution
    assert project["project"]["entry-points"]["engine"] == {names.module: names.module}
    config = yaml.safe_load((folder / "my.yaml").read_text(encoding="utf-8"))
    assert config["name"] == names.plugin
    uses = f"use: {names.plugin}" in (folder / "my.yaml").read_text(encoding="utf-8")
    # A checkpoint adapter reads into any config; the others here stand in none.
    assert uses == (kind not in ("checkpoint_adapter", "command", "metric", "compressor"))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert all(line in readme for line in ("pip install -e '.[test]'", "pytest", "my.yaml"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_registers_its_plugin_and_its_settings_import_no_torch(
    kind: str, packages: dict[str, Path]
) -> None:
    names = Names.of(NAMES[kind], kind)
    code = (
        "import importlib, json, sys\n"
        f"(plugin,) = importlib.import_module({names.module!r}).engine_plugins()\n"
        "settings = plugin.load_settings()\n"
        "heavy = {'torch', 'numpy', 'transformers', 'PIL'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "plugin.load()\n"
        "print(json.dumps([plugin.kind, plugin.name, settings.__name__]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=packages[kind] / "src",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    settings = "Settings" if kind == "command" else f"{names.class_name}Settings"
    assert json.loads(done.stdout) == [kind, names.plugin, settings]


def test_the_code_is_clean(packages: dict[str, Path]) -> None:
    """By the rules of this project, and formatted; with a long name and a short one too."""
    folder = next(iter(packages.values())).parent
    for kind in KINDS:
        for name in ("a", "engine-" + "long-" * 6 + "x"):
            new_package(name, kind, folder / f"{kind}-{name}")
    rules = "E,F,W,I,B,UP,SIM,C4,RUF,PT,PIE,RET"
    left_out = "RUF001,RUF002,RUF003,RUF012,E501"  # a long name makes long lines
    ruff = [sys.executable, "-m", "ruff"]
    check = [*ruff, "check", "--isolated", "--select", rules, "--ignore", left_out, str(folder)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    usual = [str(path) for path in packages.values()]
    done = subprocess.run([*ruff, "check", "--select", "E501", *usual], capture_output=True)
    assert done.returncode == 0, done.stdout
    done = subprocess.run([*ruff, "format", "--diff", *usual], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_a_text_encoder_costs_its_author() -> None:
    """The plugin of the scaffold is short enough to read at a glance."""
    code = render(Names.of("engine-my-encoder", "text_encoder"))["src/engine_my_encoder/encoder.py"]
    (made,) = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    assert sum(1 for line in ast.unparse(made).splitlines() if line.strip()) <= 40


def test_a_class_that_would_hide_what_it_imports() -> None:
    for name, kind in (("engine-text-encoder", "text_encoder"), ("engine-tensor", "loss")):
        with pytest.raises(PluginError, match="the name of something that it imports"):
            render(Names.of(name, kind))
    assert render(Names.of("engine-tensor", "logger"))


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_exists_is_left_alone(there: str, tmp_path: Path) -> None:
    target = tmp_path / "engine-my-loss"
    if there == "file":
        target.write_text("mine", encoding="utf-8")
    elif there == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PluginError, match="exists already"):
        new_package("engine-my-loss", "loss", target)
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    write = Path.write_text

    def full(self: Path, *arguments: object, **options: object) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError("no space left on device")
        return write(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PluginError, match="cannot be written: no space left"):
        new_package("engine-my-loss", "loss", tmp_path / "new" / "engine-my-loss")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PluginError, match="cannot be written"):
        new_package("engine-my-loss", "loss", tmp_path / "file" / "engine-my-loss")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_command(tmp_path: Path) -> None:
    def engine(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = "from engine.cli.main import run; run()"
        return subprocess.run(
            [sys.executable, "-c", code, "plugin", "new", *arguments],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip

    done = engine("engine-my-loss", "--kind", "loss")
    assert done.returncode == 0, done.stderr
    assert "engine-my-loss: a package with the loss `my_loss`" in done.stdout
    assert "  cd engine-my-loss\n  pip install -e '.[test]'\n  pytest\n" in done.stdout
    assert (tmp_path / "engine-my-loss" / "src" / "engine_my_loss" / "loss.py").is_file()
    again = engine("engine-my-loss", "--kind", "loss")
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    bad = engine("engine-my-loss", "--kind", "los", "-o", "other")
    assert (bad.returncode, "did you mean `loss`?" in bad.stderr) == (2, True)
    loaded = json.loads(engine("engine-x", "--kind", "dataset", "-o", "x/y", "--json").stdout)
    assert (loaded["name"], loaded["folder"]) == ("x", "x/y")
    assert all((tmp_path / "x" / "y" / path).is_file() for path in loaded["files"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine-my-loss", "x"]
