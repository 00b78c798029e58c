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


LITTLE = """
engine: 1
name: little
model:
  embed_dim: 8
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 8, layers: 1, heads: 1}
  text:
    use: gpt3small
    width: 8
    layers: 1
    heads: 1
    vocab_size: 400
    max_tokens: 8
    n_positions: 16
    tokenizer: {use: trained}
  projection: {vision: {use: residual}, text: {use: residual}}
data:
  train: {use: shapes, count: 32, size: 16}
  evaluate: [{use: shapes, count: 12, size: 16, split: test}]
train:
  device: cpu
  loggers: []
  threads: 1
  save_steps: 1
  checkpoints: 9
  stages: [{name: all, trains: {text: true}, epochs: 2, batch_size: 16}]
"""


@pytest.mark.slow
def test_a_checkpoint_by_its_name_wherever_a_model_is(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "little.yaml").write_text(LITTLE, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photos" / "a.png")
    assert engine("train", "little.yaml", "-o", "run")[0] == 0
    classes = ("--classes", "круг,квадрат")
    suite = {
        "engine": 1, "name": "s", "measure": {"speed": False, "draws": 100},
        "entries": [{"name": "best", "artifact": "run@best"}, {"name": "two", "artifact": "run@2"}],
        "data": [{"dataset": {"use": "shapes", "count": 12, "size": 16, "split": "test"}}],
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(json.dumps(suite), encoding="utf-8")
    (tmp_path / "texts.txt").write_text("круг\nквадрат\n", encoding="utf-8")
    for words in (
        ("size", "run@best"),
        ("predict", "run@2", "photos", *classes, "-o", "a.csv"),
        ("predict", "run@last", "photos", *classes, "-o", "b.csv"),
        ("embed", "photos", "-m", "run@2", "-o", "vectors"),
        ("index", "photos", "-m", "run@2", "-o", "pictures"),
        ("search", "pictures", "красный круг"),
        ("export", "run@2", "--to", "onnx", "-o", "theirs"),
        ("trim", "run@2", "--texts", "texts.txt", "-o", "trimmed"),
        ("fit", "run@2", "--limit", "1MB", "--plan"),
        ("train", "little.yaml", "-o", "second", "--set",
         "model.vision.weights={from: artifact:run@2}"),
        ("train", "little.yaml", "-o", "third", "--set", "model.text.tokenizer.from=artifact:run"),
        ("bench", "suite.yaml", "--folder", "bench"),
    ):  # fmt: skip
        code, out, err = engine(*words)
        assert code == 0, f"{words}: {out} {err}"
        assert "FAILED" not in out
    code, _, err = engine("size", "run@7")
    assert code == 2
    assert "has no checkpoint `7`" in " ".join(err.split())
    assert "1, 2" in " ".join(err.split())
    code, out, _ = engine("size", "run@2", "--json")
    assert json.loads(out)["models"][0]["kind"] == "run"
