"""A training run is accepted wherever a model is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine as engine_package
from engine.evaluate.predictor import Predictor

Engine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(built: Path, tmp_path: Path) -> Path:
    """A folder with the artifact as its ``model``, as training leaves it."""
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    (tmp_path / "runs" / "photos" / "model").symlink_to(built)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    return tmp_path / "runs" / "photos"


def test_python(run: Path, built: Path) -> None:
    model = engine_package.load(str(run), device="cpu")
    assert isinstance(model, Predictor)
    same = engine_package.load(built).encode_texts(["кот"])
    assert np.array_equal(model.encode_texts(["кот"]), same)


def test_weights_from_a_run(run: Path, built: Path) -> None:
    from engine.core.weights import fetch

    ours, theirs = fetch(f"artifact:{run}", "vision"), fetch(f"artifact:{built}", "vision")
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)


def test_commands(engine: Engine, run: Path) -> None:
    code, _, err = engine("predict", run, ".", "--classes", "круг,квадрат", "-o", "a.csv")
    assert code == 0, err
    code, out, err = engine("size", run, "--json")
    assert code == 0, err
    assert json.loads(out)["models"][0]["name"] == "little"
    code, _, err = engine("predict", run, ".", "--classes", "a", "-o", run / "model/engine.json")
    assert code == 2
    assert "read by this command" in " ".join(err.split())
    code, _, err = engine("predict", ".", ".", "--classes", "a", "-o", "b.csv")
    assert code == 2
    assert "a finished training run serves too" in " ".join(err.split())
