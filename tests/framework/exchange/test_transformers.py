"""Folders that transformers loads: the same embeddings, the same ids; the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from engine.contracts import SquarePreprocess, pad_tokens
from engine.contracts.preprocess import to_batch, to_pixels
from engine.core.build import read_artifact, save
from engine.errors import PluginError, WeightsError
from engine.exchange.importing import import_checkpoint
from engine.exchange.source import Source
from engine.exchange.transformers import export_transformers, image_processor, write_transformers

from .conftest import BAG, BERT, CLIP_TEXT, CLIP_VISION, IDENTITY, LINEAR, SMALL_VIT

CLASSES = {"transformers": "VisionTextDualEncoderModel", "clip": "CLIPModel"}
WITHOUT = {**CLIP_VISION, "project": False}
TEXTS = ["красный круг", "Жёлтый  Квадрат на поле и ещё много слов подряд", "", "</s> x"]

EXPORTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "CLIP": ([CLIP_VISION, CLIP_TEXT, IDENTITY, IDENTITY], "transformers"),
    "CLIP as CLIPModel": ([CLIP_VISION, CLIP_TEXT, IDENTITY, IDENTITY], "clip"),
    "CLIP with GELU, a matrix over each": (
        [{**CLIP_VISION, "quick_gelu": False}, {**CLIP_TEXT, "quick_gelu": False}, LINEAR, LINEAR],
        "clip",
    ),
    "ruCLIP's tokenizer": (
        [CLIP_VISION, {**CLIP_TEXT, "tokenizer": {"use": "youtokentome", "from": "scratch"}},
         IDENTITY, LINEAR],
        "transformers",
    ),
    "BERT": ([WITHOUT, BERT, LINEAR, LINEAR], "transformers"),
    "BERT, its width the joint one": (
        [CLIP_VISION, {**BERT, "width": 20}, IDENTITY, IDENTITY], "transformers",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", list(EXPORTS))
def test_transformers_gives_the_same_embeddings(
    name: str, make_source: Callable[..., Source], tmp_path: Path
) -> None:
    parts, form = EXPORTS[name]
    source = make_source(*parts)
    manifest = write_transformers(source, tmp_path / "out", form)  # type: ignore[arg-type]
    assert manifest["class"] == CLASSES[form]
    loaded = getattr(transformers, CLASSES[form]).from_pretrained(
        tmp_path / "out", local_files_only=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    model, settings = source.built.model, source.text_settings
    pixels = torch.randn(4, 3, 16, 16)
    rows = source.built.tokenizer.encode(TEXTS, settings.max_tokens)
    inputs = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        out = loaded.eval()(pixel_values=pixels, **inputs)
        batch = pad_tokens(rows, source.built.tokenizer.pad_id)
        logits = model(pixels, **batch)
        images, texts = model.encode_image(pixels), model.encode_text(**batch)
    torch.testing.assert_close(out.image_embeds, images, rtol=0, atol=1e-4)
    torch.testing.assert_close(out.text_embeds, texts, rtol=0, atol=1e-4)
    torch.testing.assert_close(out.logits_per_image, logits, rtol=0, atol=2e-3)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    assert [ids[:n] for ids, n in zip(inputs["input_ids"].tolist(), lengths, strict=True)] == rows
    assert manifest["check"]["text"]["largest_difference"] < 1e-5


def test_of_a_model_with_outliers_too(make_source: Callable[..., Source], tmp_path: Path) -> None:
    """BERT's pooler passes the first token on through a tanh: large numbers too."""
    source = make_source(WITHOUT, BERT, LINEAR, LINEAR)
    text: Any = source.built.model.text
    with torch.no_grad():
        text.encoder["layer"][-1].output.LayerNorm.weight[3] = 40.0
        text.encoder["layer"][-1].output.LayerNorm.bias[5] = -60.0
    manifest = write_transformers(source, tmp_path / "out")
    assert manifest["check"]["text"]["largest_difference"] < 1e-4


REFUSED: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "GPT-2": (
        [WITHOUT, {"use": "gpt3small", "width": 24, "layers": 1, "heads": 4, "vocab_size": 700,
         "n_positions": 16, "max_tokens": 12, "tokenizer": {"use": "gpt2_bpe", "from": "scratch"}},
         LINEAR, LINEAR],
        "transformers", "GPT2Model gives no pooled output",
    ),
    "BERT's mean": (
        [WITHOUT, {**BERT, "pooling": "mean"}, LINEAR, LINEAR],
        "transformers", "pooler at the first token.*`pooling: mean`",
    ),
    "a bias": (
        [WITHOUT, BERT, {"use": "linear", "bias": True}, LINEAR],
        "transformers", "the vision projection .* has a bias",
    ),
    "residual": (
        [WITHOUT, BERT, LINEAR, {"use": "residual"}],
        "transformers", "the text projection .Residual. is not one matrix",
    ),
    "another vision tower": (
        [SMALL_VIT, BERT, LINEAR, LINEAR],
        "transformers", "the vision tower SmallVit has no counterpart",
    ),
    "another text encoder": (
        [WITHOUT, BAG, LINEAR, LINEAR],
        "transformers", "the text encoder BagText has no counterpart",
    ),
    "an end mark of the id 2": (
        [CLIP_VISION, {**CLIP_TEXT, "tokenizer": {"use": "sentencepiece", "from": "scratch"}},
         IDENTITY, IDENTITY],
        "transformers", "end mark has the id 2",
    ),
    "no end mark": (
        [CLIP_VISION,
         {**CLIP_TEXT, "tokenizer": {"use": "trained", "from": "scratch", "marks": False}},
         IDENTITY, IDENTITY],
        "transformers", "does not end every text with one mark",
    ),
    "BERT as CLIPModel": ([WITHOUT, BERT, LINEAR, LINEAR], "clip", "CLIP's text tower, .* bert's"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_transformers_has_no_form_of_is_refused(
    name: str, make_source: Callable[..., Source], tmp_path: Path
) -> None:
    parts, form, reason = REFUSED[name]
    source = make_source(*parts)
    with pytest.raises(WeightsError, match=reason) as caught:
        write_transformers(source, tmp_path / "out", form)  # type: ignore[arg-type]
    assert "--to" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


class Nobody:
    def names(self, kind: str) -> list[str]:
        return []


def test_no_layout_writes_it(small: Callable[[str], Source], tmp_path: Path) -> None:
    nobody: Any = Nobody()
    with pytest.raises(PluginError, match="no installed checkpoint_adapter"):
        write_transformers(small("clip"), tmp_path / "out", registry=nobody)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), [("clip", "clip"), ("bert", "transformers")])
def test_there_and_back(
    kind: str, form: str, small: Callable[[str], Source], tmp_path: Path
) -> None:
    """An artifact exported and imported again: every tensor the same, bit for bit."""
    built = small(kind).built
    save(built, tmp_path / "artifact")
    export_transformers(tmp_path / "artifact", tmp_path / "out", form)  # type: ignore[arg-type]
    assert not list(tmp_path.glob(".*"))
    again = import_checkpoint(tmp_path / "out", built.config)
    save(again, tmp_path / "again")
    before, after = (
        load_file(tmp_path / name / "model.safetensors") for name in ("artifact", "again")
    )
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    read = read_artifact(tmp_path / "again")
    assert read.manifest["weights"]["text"]["source"] == "file:out (layout transformers)"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == [CLASSES[form]]


@pytest.mark.slow
def test_a_form_that_computes_something_else_is_not_written(
    small: Callable[[str], Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers' own number of heads, say, is not the model's."""
    real = transformers.CLIPConfig

    def other(**numbers: Any) -> Any:
        return real(
            **{**numbers, "text_config": {**numbers["text_config"], "num_attention_heads": 2}}
        )

    monkeypatch.setattr("transformers.CLIPConfig", other)  # it swaps its own module once loaded
    with pytest.raises(WeightsError, match="the text tower of transformers differs"):
        write_transformers(small("clip"), tmp_path / "out", "clip")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resize", ["shorter_side", "squash", "crop_first"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.8])
def test_pictures(resize: Any, interpolation: Any, crop_pct: float) -> None:
    """Through Pillow the same pixels, where the margins are even; else see the export's note."""
    preprocess = SquarePreprocess(16, resize=resize, interpolation=interpolation, crop_pct=crop_pct)
    noise = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((72, 48), Image.Resampling.BICUBIC)
    processor = transformers.CLIPImageProcessorPil(**image_processor(preprocess))
    found = processor(image, return_tensors="pt")["pixel_values"]
    expected = to_batch([to_pixels(image, preprocess)], preprocess)
    atol = 0.3 if resize == "crop_first" else 1e-5
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    assert functional.l1_loss(found, expected) < 0.1
