"""The stranger's walk, and every other kind of package on its way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from engine.contracts import KINDS
from engine.scaffold import Names, new_package
from engine.scaffold.writer import kind_of

from .environment import Environment
from .walk import MOST_LINES, walk

pytestmark = pytest.mark.slow


def test_the_strangers_walk(clean: Environment, tmp_path: Path) -> None:
    told: list[str] = []
    done = walk(clean, tmp_path, told.append)
    assert done.lines <= MOST_LINES
    assert done.accuracy > 20  # by chance 4 %
    manifest = json.loads(
        (done.package / "runs" / "my_encoder" / "model" / "engine.json").read_text()
    )
    assert {
        "kind": "text_encoder", "name": "my_encoder",
        "distribution": "engine-my-encoder", "version": "0.1.0",
    } in manifest["plugins"]  # fmt: skip
    assert [line for line in told if line.startswith("$ engine train")]
    assert (done.package / "gallery.html").stat().st_size > 10_000
    clean.done("pip", "uninstall", "--yes", "engine-my-encoder", cwd=tmp_path)


@pytest.fixture(scope="module")
def packages(
    clean: Environment, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Names, Path]]:
    """A package of every kind, installed; the tests leave them to the environment's end."""
    folder = tmp_path_factory.mktemp("every kind")
    made = {
        kind: new_package(f"engine-own-{kind_of(kind).file}", kind, folder / kind) for kind in KINDS
    }
    clean.done("pip", "install", *(package.folder for package in made.values()), cwd=folder)
    return {kind: (package.names, package.folder) for kind, package in made.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_its_contract_is_kept(
    kind: str, packages: dict[str, tuple[Names, Path]], clean: Environment
) -> None:
    _, folder = packages[kind]
    assert "passed" in clean.done("pytest", "-p", "no:cacheprovider", cwd=folder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "key_layout"])
def test_its_config_trains(
    kind: str, packages: dict[str, tuple[Names, Path]], clean: Environment, tmp_path: Path
) -> None:
    """For a few steps; that it learns is seen on the walk, and by hand with each of them."""
    names, folder = packages[kind]
    text = (folder / "my.yaml").read_text(encoding="utf-8")
    few, changes = re.subn(r"epochs: \d+", "steps: 4", text)
    assert changes == 1
    (tmp_path / "my.yaml").write_text(few, encoding="utf-8")
    data = f"data.evaluate=[{{use: {'shapes' if kind != 'dataset' else names.plugin}, count: 12}}]"
    told = json.loads(
        clean.done("engine", "train", "my.yaml", "--json", "--set", data, cwd=tmp_path)
    )
    assert told["stages"][0]["steps"] == 4, told
    run = tmp_path / "runs" / names.plugin
    config = (run / "model" / "config.yaml").read_text(encoding="utf-8")
    assert f"use: {names.plugin}" in config
    if kind == "logger":
        lines = (run / "log.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "step,name,value"
        assert any(",loss," in line for line in lines)


def test_a_checkpoint_is_imported(
    packages: dict[str, tuple[Names, Path]], clean: Environment, tmp_path: Path
) -> None:
    names, folder = packages["key_layout"]
    shutil.copy(folder / "my.yaml", tmp_path)
    clean.done("engine", "build", "my.yaml", cwd=tmp_path)
    theirs = f"""
import sys
from safetensors.torch import load_file, save_file
prefixes = {{"vision.": "image.", "text.": "caption.", "vision_projection.": "image_head.",
            "text_projection.": "caption_head.", "logit_scale": "temperature"}}
def rename(key):
    return next("{names.plugin}." + new + key.removeprefix(old)
                for old, new in prefixes.items() if key.startswith(old))
tensors = load_file("build/{names.plugin}/model.safetensors")
save_file({{rename(key): tensor * 2 for key, tensor in tensors.items()}}, "theirs.safetensors")
"""
    clean.done("python", "-c", theirs, cwd=tmp_path)
    clean.done("engine", "import", "theirs.safetensors", "--config", "my.yaml", "-o", "imported",
               cwd=tmp_path)  # fmt: skip
    same = f"""
from safetensors.torch import load_file
old = load_file("build/{names.plugin}/model.safetensors")
new = load_file("imported/model.safetensors")
assert old.keys() == new.keys()
assert all((new[key] == 2 * tensor).all() for key, tensor in old.items())
"""
    clean.done("python", "-c", same, cwd=tmp_path)
