"""An export answers as the model that it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import engine
from engine.core.build import save
from engine.errors import ArtifactError, DataError, PluginError
from engine.evaluate.features import FeatureCache
from engine.evaluate.predictor import Predictor
from engine.exchange.int8 import Gate
from engine.exchange.onnx import Int8, export_onnx
from engine.exchange.running import exported_beside, read_exported
from engine.exchange.source import Source
from engine.search.identity import identity_of

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TEXTS = ["кошка", "a photo of a dog", "x", "слово и дело " * 30]
CLASSES = ["кошка", "собака", "house"]


def pictures(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (30, 40, 3), np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def artifact(small: Callable[[str], Source], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    save(small("clip").built, folder)
    return folder


@pytest.fixture(scope="module")
def export(artifact: Path) -> Path:
    return exported_beside(artifact)


@pytest.fixture(scope="module")
def int8(artifact: Path) -> Path:
    folder = artifact.with_name("model-int8")
    export_onnx(artifact, folder, int8=Int8(gate=Gate(cosine=0.5, agreement=0)))
    return folder


def test_answers_are_the_artifacts(artifact: Path, export: Path) -> None:
    own, other = engine.load(artifact), engine.load(export)
    assert (own.backend, other.backend) == ("torch", "onnxruntime")
    np.testing.assert_allclose(other.encode_texts(TEXTS), own.encode_texts(TEXTS), atol=1e-4)
    images = pictures()
    np.testing.assert_allclose(other.encode_images(images), own.encode_images(images), atol=1e-4)
    assert other.scale == own.scale
    assert [a[0].name for a in other.classify(images, CLASSES)] == [
        a[0].name for a in own.classify(images, CLASSES)
    ]
    assert other.num_parameters == own.num_parameters
    assert "onnxruntime, float32" in repr(other)


def test_int8_answers_within_the_gate(artifact: Path, int8: Path) -> None:
    own, other = engine.load(artifact), engine.load(int8)
    for mine, found in (
        (own.encode_texts(TEXTS), other.encode_texts(TEXTS)),
        (own.encode_images(pictures()), other.encode_images(pictures())),
    ):
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        cosines = (mine * found).sum(axis=1)
        assert cosines.mean() > 0.98
        assert not np.array_equal(mine, found)
    assert "onnxruntime, int8" in repr(other)


@pytest.mark.slow
def test_the_lengths_of_raw_vectors_are_kept(tiny: Callable[[str], Source], tmp_path: Path) -> None:
    source = tiny("ruclip")
    assert source.built.config.zero_shot.average == "raw"
    save(source.built, tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "out")
    own, other = Predictor(source.built), engine.load(tmp_path / "out")
    found, wanted = (one.text_vectors(TEXTS, raw=True) for one in (other, own))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        other.class_vectors(CLASSES), own.class_vectors(CLASSES), rtol=0, atol=1e-4
    )


@pytest.mark.slow
def test_the_export_beside_an_artifact_is_made_once_and_again_after_a_change(
    small: Callable[[str], Source], tmp_path: Path
) -> None:
    source = small("bert")
    save(source.built, tmp_path / "model")
    first = exported_beside(tmp_path / "model")
    assert first == tmp_path / "model-onnx"
    written = (first / "export.json").stat().st_mtime_ns
    assert exported_beside(tmp_path / "model") == first
    assert (first / "export.json").stat().st_mtime_ns == written
    assert exported_beside(first) == first
    with torch.no_grad():
        source.built.model.logit_scale += 0.25
        save(source.built, tmp_path / "model")
        source.built.model.logit_scale -= 0.25
    predictor = engine.load(tmp_path / "model", backend="onnxruntime")
    assert predictor.scale == pytest.approx(engine.load(tmp_path / "model").scale)
    assert (first / "export.json").stat().st_mtime_ns != written


def test_an_int8_export_in_the_place_of_the_cache_is_not_taken_for_float32(
    artifact: Path, int8: Path, tmp_path: Path
) -> None:
    """It answers where it is named itself; the artifact's own backend stays in float32."""
    assert "int8" in json.loads((int8 / "export.json").read_text())
    assert exported_beside(int8) == int8
    predictor = engine.load(artifact, backend="onnxruntime")
    assert "float32" in repr(predictor)


def test_an_index_knows_which_models_vectors_can_be_compared(
    artifact: Path, export: Path, int8: Path
) -> None:
    own, float32, rounded = (identity_of(engine.load(p)) for p in (artifact, export, int8))
    assert own == float32
    assert rounded != own


def test_features_are_kept_by_the_file_that_gives_them(
    export: Path, int8: Path, tmp_path: Path
) -> None:
    """Else one export would be given the other's."""
    pixels = [np.full((16, 16, 3), 10 * i, np.uint8) for i in range(4)]
    found = []
    with FeatureCache(tmp_path / "features") as cache:
        for folder in (export, int8, export):
            predictor = engine.load(folder)
            found.append(predictor.encode_pixels(pixels, None, cache.tower(predictor)).numpy())
        assert (cache.computed, cache.found) == (8, 4)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_wrong_ways_are_said(
    artifact: Path, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="PyTorch does not run"):
        engine.load(export, backend="torch")
    with pytest.raises(DataError, match="expected torch or onnxruntime"):
        engine.load(export, backend="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(ArtifactError):
        engine.load(tmp_path, backend="onnxruntime")
    (tmp_path / "export.json").write_text('{"format": 1, "to": "clip", "files": {}}')
    with pytest.raises(ArtifactError, match="does not run"):
        engine.load(tmp_path)
    import engine.exchange.packages as packages

    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    for path in (export, artifact):
        with pytest.raises(PluginError, match="this backend needs onnxruntime") as caught:
            engine.load(path, backend="onnxruntime")
        assert "pip install" in caught.value.hint


@pytest.mark.parametrize("name", ["vision.onnx", "engine_config.yaml", "engine_tokenizer.bin"])
def test_a_changed_export_is_refused(export: Path, tmp_path: Path, name: str) -> None:
    import shutil

    folder = tmp_path / "changed"
    shutil.copytree(export, folder)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtifactError):
        read_exported(folder)


def test_as_many_threads_compute_as_pytorch_has(
    export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    asked = []
    real = onnxruntime.InferenceSession

    def session(path: str, options: onnxruntime.SessionOptions, **rest: object) -> object:
        asked.append(options.intra_op_num_threads)
        return real(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        read_exported(export)
    finally:
        torch.set_num_threads(before)
    assert asked == [2, 2]
