"""Exports of models that were made to fit: folded batch norms, storages of few bits, fewer tokens.

What `engine fit` writes is read back decoded, so an export holds what the artifact computes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from engine.compress.fit import fit
from engine.compress.planning import plan_fit
from engine.compress.report import cost
from engine.core.build import Built, read_artifact, save
from engine.core.size import config_size
from engine.errors import WeightsError
from engine.evaluate.predictor import Predictor
from engine.exchange.onnx import export_onnx
from engine.exchange.open_clip import export_open_clip
from engine.exchange.running import read_exported
from engine.exchange.transformers import export_transformers

from .conftest import BERT, CLIP_TEXT, IDENTITY, LINEAR, make_built, small_config

TEXTS = [f"{a} {b}" for a in ("красный", "синий", "новый") for b in ("круг", "квадрат", "кот")]
VISION = {"use": "timm", "arch": "test_resnet", "image_size": 64, "crop_pct": 1.0,
          "resize": "shorter_side"}  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of half the bytes, its batch norms folded."""
    folder = tmp_path_factory.mktemp("fitted") / "model"
    built = make_built(small_config(VISION, CLIP_TEXT, LINEAR, IDENTITY))
    limit = config_size(built.config).total // 2
    made = fit(built, limit, texts=TEXTS, languages=["ru"])
    assert "fold_norms" in [one.use["use"] for one in made.steps]
    save(made.built, folder)
    assert made.size.total <= limit
    return folder


def pixels(built: Built) -> torch.Tensor:
    size = built.model.vision.preprocess.size
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_onnx_computes_what_the_fitted_model_does(fitted: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    manifest = export_onnx(fitted, tmp_path / "out")
    assert manifest["vision"]["check"]["largest_difference"] < 1e-4
    own, found = read_artifact(fitted), Predictor(read_exported(tmp_path / "out"))
    expected = torch.as_tensor(Predictor(own).encode_texts(TEXTS))
    torch.testing.assert_close(torch.as_tensor(found.encode_texts(TEXTS)), expected, atol=1e-4,
                               rtol=0)  # fmt: skip


def test_open_clip_gets_batch_norms_that_add_the_biases(fitted: Path, tmp_path: Path) -> None:
    export_open_clip(fitted, tmp_path / "out")
    own = read_artifact(fitted)
    model: Any = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in model.visual.modules())
    with torch.no_grad():
        found = model.encode_image(pixels(own), normalize=True)
        expected = own.model.encode_image(pixels(own))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_folding_alone_costs_is_said() -> None:
    built = make_built(small_config(VISION, CLIP_TEXT, LINEAR, IDENTITY))
    plan = plan_fit(built.config, built.tokenizer, languages=["ru"])
    made = fit(built, plan.after_steps, texts=TEXTS, languages=["ru"])
    assert made.size.total == plan.after_steps
    assert not made.candidates
    assert cost(made).startswith("no loss but the rounding of float32")


def test_transformers_has_no_form_of_such_a_tower(fitted: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no counterpart in transformers"):
        export_transformers(fitted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("vision", [VISION, {**VISION, "fold_norms": True}], ids=["whole", "fold"])
def test_identity_behind_the_tower(
    vision: dict[str, Any], make_source: Callable[..., Any], tmp_path: Path
) -> None:
    """Written by a config, and not by a fit."""
    from engine.exchange.open_clip import write_open_clip

    source = make_source(vision, BERT, IDENTITY, LINEAR, width=96)
    write_open_clip(source, tmp_path / "out")
    model: Any = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    own = source.built
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_image(pixels(own), normalize=True),
            own.model.encode_image(pixels(own)), atol=1e-5, rtol=0,
        )  # fmt: skip
