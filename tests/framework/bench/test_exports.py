"""ONNX exports are entries of a bench, and every entry can be computed by onnxruntime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bench.evaluator import size_of
from engine.bench.run import Bench, run_suite
from engine.bench.suite import SuiteSettings
from engine.core.build import build, save
from engine.core.config import load_config
from engine.core.registry import default_registry
from engine.exchange.int8 import Gate
from engine.exchange.onnx import Int8, export_onnx

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

CONFIG = """\
engine: 1
name: small
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text: {use: gpt3small, width: 16, layers: 1, heads: 2, vocab_size: 300, max_tokens: 15,
         n_positions: 16, tokenizer: {use: trained}}
  projection: {vision: {use: linear}, text: {use: linear}}
data: {train: {use: shapes, count: 64, size: 16}}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, and its exports `float32` and `int8`."""
    root = tmp_path_factory.mktemp("models")
    (root / "m.yaml").write_text(CONFIG, encoding="utf-8")
    save(build(load_config(root / "m.yaml")), root / "model")
    export_onnx(root / "model", root / "float32")
    gate = Gate(cosine=0.5, agreement=0)
    export_onnx(root / "model", root / "int8", int8=Int8(gate=gate))
    return root


def bench(models: Path, names: tuple[str, ...], **more: object) -> Bench:
    shapes = {"use": "shapes", "split": "test", "size": 16, "count": 24}
    suite = {
        "engine": 1, "name": "tried", "jobs": 2, "limits": ["1 MB"], "data": [{"dataset": shapes}],
        "entries": [{"name": name, "artifact": str(models / name)} for name in names],
        "measure": {"draws": 200}, **more,
    }  # fmt: skip
    settings = SuiteSettings.model_validate(suite, context={"registry": default_registry()})
    return run_suite(settings, models / f"out-{len(more)}")


def test_exports_are_rows_with_answers_size_and_speed(models: Path, warm_workers: None) -> None:
    board = bench(models, ("model", "float32", "int8")).leaderboard
    rows = {name: board.row(name) for name in ("model", "float32", "int8")}
    assert not any(row.failed for row in rows.values())
    assert rows["float32"].accuracy == rows["model"].accuracy
    for name in ("float32", "int8"):
        size = rows[name].model_size
        assert size is not None
        files = [models / name / f"{side}.onnx" for side in ("vision", "text")]
        assert size.bytes == sum(file.stat().st_size for file in files)
        assert size.parameters == size_of(models / "model").parameters
    (speed,) = (models / "out-0" / "results").glob("int8.*.speed.json")
    assert json.loads(speed.read_text())["images_per_second"] > 0


def test_every_entry_through_onnxruntime(models: Path, warm_workers: None) -> None:
    board = bench(models, ("model",), backend="onnxruntime").leaderboard
    assert not board.row("model").failed
    assert (models / "model-onnx" / "export.json").is_file()
    assert board.row("model").model_size == size_of(models / "model")
