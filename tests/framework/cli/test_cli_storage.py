"""Storages and both limits, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import CONFIG

Engine = Callable[..., tuple[int, str, str]]
MIXED = (
    'storage: {default: int8_rows, rules: [{match: "vision.*", use: bfloat16}], keep: [norms]}\n'
)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A config with several storages."""
    (tmp_path / "mixed.yaml").write_text(CONFIG + MIXED, encoding="utf-8")
    return tmp_path / "mixed.yaml"


def report(engine: Engine, *arguments: object) -> dict[str, Any]:
    code, out, err = engine("size", *arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)["models"][0]
    return found


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16", "int8_rows", "mixed"])
def test_what_is_reported_before_is_what_is_written(
    engine: Engine, mixed: Path, tmp_path: Path, storage: str
) -> None:
    name = mixed.name
    if storage != "mixed":
        mixed.write_text(CONFIG + f"storage: {{default: {storage}}}\n", encoding="utf-8")
    before = report(engine, name, "--tensors")
    assert engine("build", name, "-o", "model")[0] == 0
    after = report(engine, "model", "--tensors")
    files = {path.name: path.stat().st_size for path in (tmp_path / "model").iterdir()}
    assert before["bytes"] == after["bytes"] == files["model.safetensors"]
    assert before["tensors"] == after["tensors"]
    assert before["parts"] == after["parts"]
    assert before["folder_bytes"] is None
    assert after["folder_bytes"] == sum(files.values())
    for part in after["parts"]:
        assert sum(part["storage"].values()) == part["bytes"]
        own = [t["bytes"] for t in after["tensors"] if t["name"].split(".")[0] == part["name"]]
        assert sum(own) == part["bytes"]
    assert "tensors" not in report(engine, "model")


def test_the_tables_show_storages(engine: Engine, mixed: Path) -> None:
    code, out, err = engine("size", mixed.name, "--tensors")
    assert code == 0, err
    assert "int8_rows" in out
    assert "bfloat16" in out
    assert "text.transformer.wte.weight" in out or "400 x 16" in out


def test_the_limit_of_the_folder(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    assert engine("build", "little.yaml", "-o", "model", "--set", "limits.folder=1MB")[0] == 0
    found = report(engine, "model")
    assert found["folder_limit"] == 1_000_000
    weights = found["bytes"]
    # The folder grows after it was written, here by a config with a lower limit and a comment.
    config = tmp_path / "model" / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("folder: 1000000", f"folder: {weights}")
    config.write_text(text, encoding="utf-8")
    manifest = json.loads((tmp_path / "model" / "engine.json").read_text(encoding="utf-8"))
    manifest["files"]["config.yaml"]["bytes"] = config.stat().st_size
    (tmp_path / "model" / "engine.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, out, err = engine("size", "model")
    assert code == 1
    assert "folder: over" in out
    assert "all files of little together" in err
    # A build over the limit writes nothing and says so before it loads weights.
    code, _, err = engine("build", "little.yaml", "-o", "new", "--set", f"limits.folder={weights}")
    assert code == 1
    assert "all files of little together" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("storage.default=int7_rows", "unknown storage `int7_rows`"),
        ("storage.dtype=float16", "storage.dtype: unknown key"),
        ("storage.rules=[{use: float16}]", "match: PATTERN"),
        ("storage.rules=[{match: 'txt.*', use: float16}]", "storage.rules.0.match"),
        ("storage.keep=[nrms]", "storage.keep.0"),
        ("storage.rules=[{match: 'text.*', use: int8_rows, groups: 3}]", "groups: unknown key"),
    ],
)
def test_mistakes(engine: Engine, tmp_path: Path, override: str, words: str) -> None:
    (tmp_path / "little.yaml").write_text(CONFIG, encoding="utf-8")
    code, _, err = engine("size", "little.yaml", "--set", override)
    assert code == 2
    assert words in err.replace("\n", " ")
    assert "Traceback" not in err


def test_a_run_is_stored_as_its_config_says(engine: Engine, mixed: Path, tmp_path: Path) -> None:
    """Its start is kept in float32, which neither limit counts."""
    weights = report(engine, mixed.name)["bytes"]
    limits = f"limits={{weights: {weights}, folder: {weights + 40_000}}}"
    code, _, err = engine("train", mixed.name, "-o", "run", "--set", limits)
    assert code == 0, err
    assert report(engine, "run/model")["bytes"] == weights
    start = json.loads((tmp_path / "run" / "start" / "engine.json").read_text(encoding="utf-8"))
    assert [entry["use"] for entry in start["storage"]] == [None]
