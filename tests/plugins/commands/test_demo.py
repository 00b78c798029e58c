"""`engine demo`: the recipe of `make demo`, from what lies in the package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine_plugins.commands.demo import CONFIGS, steps

ROOT = Path(__file__).resolve().parents[3]
SHORT = [
    "--set", "train.stages.0.epochs=1", "--set", "data.train.count=256",
    "--set", "data.evaluate=[{use: shapes, split: test, count: 48, size: 48}]",
]  # fmt: skip


def _demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", "demo", *arguments],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_packaged_configs_are_those_of_the_checkout(path: Path) -> None:
    assert path.read_bytes() == (ROOT / "configs" / "tiny" / path.name).read_bytes()


def test_the_makefile_has_the_same_recipe() -> None:
    made = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in steps(Path("demo"))[1:]:
        line = f"engine {' '.join(words)}"
        assert line.replace("demo/config/", "configs/tiny/") in made


@pytest.mark.slow
def test_without_a_checkout_it_ends_with_a_page(tmp_path: Path) -> None:
    done = _demo(tmp_path, "-o", "out", *SHORT)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "gallery.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert (tmp_path / "out" / "run" / "model" / "engine.json").is_file()
    assert done.stdout.count("$ engine ") == len(steps(Path("out")))
    assert "out/gallery.html" in done.stdout.splitlines()[-1]
    again = _demo(tmp_path, "-o", "out")
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    assert "--force" in again.stderr


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    done = _demo(tmp_path, "-o", "out", "--force")
    assert done.returncode == 2
    assert "choose another folder" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    done = _demo(tmp_path, "-o", "out", "--set", "no.such=1")
    assert done.returncode == 2
    assert "`engine train` failed" in done.stderr
