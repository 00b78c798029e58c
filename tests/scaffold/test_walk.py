"""The newcomer's walk, and every other kind of package on its way."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.contracts import KINDS
from engine.scaffold import Names, new_package
from engine.scaffold.writer import kind_of

from .environment import Environment
from .walk import MAX_LINES, walk

pytestmark = pytest.mark.slow


def test_the_strangers_walk(clean: Environment, tmp_path: Path) -> None:
    messages: list[str] = []
    done = walk(clean, tmp_path, messages.append)
    assert done.lines <= MAX_LINES
    assert done.accuracy > 20  # by chance 4 %
    manifest = json.loads(
        (done.package / "runs" / "my_encoder" / "model" / "engine.json").read_text()
    )
    assert {
        "kind": "text_encoder", "name": "my_encoder",
        "distribution": "engine-my-encoder", "version": "0.1.0",
    } in manifest["plugins"]  # fmt: skip
    assert [line for line in messages if line.startswith("$ engine train")]
    assert (done.package / "gallery.html").stat().st_size > 10_000
    clean.done("pip", "uninstall", "--yes", "engine-my-encoder", cwd=tmp_path)


@pytest.fixture(scope="module")
def packages(
    clean: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Names, Path]]]:
    """A package of every kind, installed."""
    folder = tmp_path_factory.mktemp("every kind")
    made = {
        kind: new_package(f"engine-own-{kind_of(kind).file}", kind, folder / kind) for kind in KINDS
    }
    clean.done("pip", "install", *(package.folder for package in made.values()), cwd=folder)
    yield {kind: (package.names, package.folder) for kind, package in made.items()}
    installed = [package.names.distribution for package in made.values()]
    clean.done("pip", "uninstall", "--yes", *installed, cwd=folder)


def test_their_contracts_are_kept(
    packages: dict[str, tuple[Names, Path]], clean: Environment
) -> None:
    """All in one process, which spares ten imports of torch."""
    above = packages["loss"][1].parent
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", "-v", f"--rootdir={above}"]
    out = clean.done("pytest", *options, *(f"{kind}/tests" for kind in packages), cwd=above)
    for kind in packages:
        passed = re.findall(rf"^{kind}/tests/test_contract\.py::\S+ PASSED", out, re.MULTILINE)
        assert len(passed) > 5, kind


TRAIN = """
import sys
from pathlib import Path
from engine.core.config import load_config
from engine.train.run import train

for path in map(Path, sys.argv[1:]):
    config = load_config(path)
    built, report = train(config, Path("runs") / config.name)
    print(path.stem, built.manifest["stages"][0]["steps"], report.total)
"""


def test_their_configs_train(
    packages: dict[str, tuple[Names, Path]], clean: Environment, tmp_path: Path
) -> None:
    """For a few steps; that a model learns is seen on the walk."""
    configs = []
    for kind, (names, folder) in packages.items():
        text = (folder / "my.yaml").read_text(encoding="utf-8")
        for pattern, few in ((r"epochs: \d+", "steps: 3"), (r"batch_size: \d+", "batch_size: 16"),
                             (r"(- {use: \w+, .*split: test)", r"\1, count: 12")):  # fmt: skip
            text, changes = re.subn(pattern, few, text)
            assert changes == 1, (kind, pattern)
        configs.append(tmp_path / f"{names.plugin}.yaml")
        configs[-1].write_text(text, encoding="utf-8")
    sample = f"{packages['dataset'][0].module}.dataset_sample"
    clean.done("python", "-m", sample, "sample", cwd=tmp_path)
    out = clean.done("python", "-c", TRAIN, *configs, cwd=tmp_path)
    rows = [line.split() for line in out.splitlines()]
    assert [(name, steps) for name, steps, _ in rows] == [(p.stem, "3") for p in configs]
    for kind, (names, _) in packages.items():
        config = tmp_path / "runs" / names.plugin / "model" / "config.yaml"
        assert (f"use: {names.plugin}" in config.read_text(encoding="utf-8")) == (
            kind not in ("checkpoint_adapter", "command", "compressor", "metric")
        )
    lines = (tmp_path / "runs" / "own_logger" / "log.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "step,name,value"
    assert any(",loss," in line for line in lines)


def test_a_checkpoint_is_imported(
    packages: dict[str, tuple[Names, Path]], clean: Environment, tmp_path: Path
) -> None:
    names, folder = packages["checkpoint_adapter"]
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
