"""Packages of third parties: built as wheels, installed, used through their entry points, gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .environment import Environment

pytestmark = pytest.mark.slow

GOOD = ("engine-conv-text", "engine-flags", "engine-hello")
BROKEN = ("engine-broken-import", "engine-old-api", "engine-name-clash")

FEW_STEPS = (
    "train.stages=[{name: a few, trains: {vision: true, text: true}, steps: 3, batch_size: 16}]"
)


@pytest.fixture(scope="module")
def packages(root: Path) -> Path:
    return root / "tests" / "packages"


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheels(
    clean: Environment, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The wheel of every package."""
    folder = tmp_path_factory.mktemp("wheels")
    return {name: clean.wheel(packages / name, folder / name) for name in (*GOOD, *BROKEN)}


@pytest.fixture
def installed(
    clean: Environment, wheels: dict[str, Path], tmp_path: Path
) -> Iterator[Callable[..., None]]:
    """Installs wheels by the names of their packages; at the end they are gone."""
    names: list[str] = []

    def install(*wanted: str) -> None:
        names.extend(wanted)
        clean.done("pip", "install", "--no-deps", *(wheels[name] for name in wanted), cwd=tmp_path)

    yield install
    if names:
        clean.done("pip", "uninstall", "--yes", *names, cwd=tmp_path)


def plugins(clean: Environment, folder: Path) -> dict[str, list[dict[str, object]]]:
    told: dict[str, list[dict[str, object]]] = json.loads(
        clean.done("engine", "plugins", "--json", cwd=folder)
    )
    return told


def test_good_packages(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    before = plugins(clean, tmp_path)
    assert before["broken"] == before["clashes"] == []
    assert {row["distribution"] for row in before["plugins"]} == {"engine-towers"}
    installed(*GOOD)
    told = plugins(clean, tmp_path)
    theirs = {(r["name"], r["distribution"], r["version"]) for r in told["plugins"]} - {
        (r["name"], r["distribution"], r["version"]) for r in before["plugins"]
    }
    assert theirs == {
        ("conv_text", "engine-conv-text", "1.3.0"),
        ("flags", "engine-flags", "0.2.1"),
        ("hello", "engine-hello", "0.1.0"),
        ("count", "engine-hello", "0.1.0"),
    }
    assert "span" in clean.done("engine", "plugins", "conv_text", cwd=tmp_path)
    shown = clean.done("engine", "plugins", cwd=tmp_path)
    assert "engine-conv-text 1.3.0" in shown
    assert "engine-flags 0.2.1" in shown

    assert "Greet somebody." in clean.done("engine", "--help", cwd=tmp_path)
    assert clean.done("engine", "hello", "you", cwd=tmp_path) == "hello you\n"

    # Both in one model: the text encoder of one package learns from the data set of the other.
    shutil.copy(packages / "engine-conv-text" / "my.yaml", tmp_path / "my.yaml")
    data = [
        "--set", "data.train={use: flags, count: 64}",
        "--set", "data.evaluate=[{use: flags, split: test, count: 26}]",
    ]  # fmt: skip
    clean.done("engine", "build", "my.yaml", *data, cwd=tmp_path)
    manifest = json.loads((tmp_path / "build" / "conv_text" / "engine.json").read_text())
    assert {
        "kind": "text_encoder", "name": "conv_text",
        "distribution": "engine-conv-text", "version": "1.3.0",
    } in manifest["plugins"]  # fmt: skip
    planned = clean.done("engine", "size", "my.yaml", "--json", *data, cwd=tmp_path)
    on_meta = clean.done("engine", "size", "my.yaml", "--json", "--meta", *data, cwd=tmp_path)
    assert planned == on_meta
    clean.done("engine", "train", "my.yaml", *data, "--set", FEW_STEPS, cwd=tmp_path)
    clean.done("engine", "data", "make", "flags", "data", "--count", "8", "--test-count", "26",
               cwd=tmp_path)  # fmt: skip
    answers = tmp_path / "predictions.json"
    clean.done("engine", "predict", "runs/conv_text/model", "data/test", "-o", answers,
               cwd=tmp_path)  # fmt: skip
    assert len(json.loads(answers.read_text())["flags"]) == 26

    # Uninstalled, they are gone; a config and an artifact that use them say what is missing.
    clean.done("pip", "uninstall", "--yes", *GOOD, cwd=tmp_path)
    assert plugins(clean, tmp_path) == before
    for command in (
        ["build", "my.yaml"],
        ["predict", "runs/conv_text/model", "data/test", "-o", "p"],
    ):
        done = clean.run("engine", *command, cwd=tmp_path)
        assert done.returncode == 2
        assert "unknown text_encoder `conv_text`" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", GOOD)
def test_their_own_tests(
    name: str, clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed(name)
    shutil.copytree(packages / name / "tests", tmp_path / "tests")
    assert "passed" in clean.done("pytest", "-p", "no:cacheprovider", cwd=tmp_path)


def test_broken_packages_harm_nothing(
    clean: Environment, installed: Callable[..., None], packages: Path, tmp_path: Path
) -> None:
    installed(*BROKEN, "engine-conv-text")
    told = plugins(clean, tmp_path)
    broken = {row["distribution"]: str(row["error"]) for row in told["broken"]}
    assert broken.keys() == {"engine-broken-import", "engine-old-api"}
    assert "a_library_that_nobody_has" in broken["engine-broken-import"]
    assert "7.2" in broken["engine-old-api"]
    assert "Recipe" not in broken["engine-old-api"]  # none of its code ran
    assert told["clashes"] == [
        {
            "kind": "loss", "name": "sigmoid",
            "distributions": ["engine-name-clash 0.1.0", "engine-towers 0.1.0"],
        }
    ]  # fmt: skip
    shown = clean.done("engine", "plugins", cwd=tmp_path)
    assert shown.count("BROKEN") == 2
    assert "CLASH  two plugins are called loss `sigmoid`" in shown

    # All others work: those of Engine, of a good package, and of the one that clashes.
    shutil.copy(packages / "engine-conv-text" / "my.yaml", tmp_path / "my.yaml")
    clean.done("engine", "size", "my.yaml", cwd=tmp_path)
    quiet = ["--set", "train.loggers=[{use: quiet}]", "--set", "data.train.count=32",
             "--set", "data.evaluate=[]", "--set", FEW_STEPS]  # fmt: skip
    clean.done("engine", "train", "my.yaml", *quiet, cwd=tmp_path)

    # The names that are lost say why.
    for setting, words in (
        ("model.text={use: theirs}", "a_library_that_nobody_has"),
        ("train.stages=[{name: x, steps: 1, losses: [{use: sigmoid}]}]", "two plugins are called"),
    ):
        done = clean.run("engine", "size", "my.yaml", "--set", setting, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
