"""Folders that open_clip loads by itself: equal numbers, and back without a changed bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from engine.core.build import save
from engine.errors import WeightsError
from engine.evaluate.predictor import Predictor
from engine.exchange.by_name import import_source
from engine.exchange.open_clip import export_open_clip, write_open_clip
from engine.exchange.source import Source

from . import foreign_folders as foreign
from .conftest import BAG, BERT, CLIP_TEXT, CLIP_VISION, IDENTITY, LINEAR, SMALL_VIT


@pytest.mark.parametrize("bias", [None, -7.5])
def test_open_clip_to_engine_and_back(bias: float | None, tmp_path: Path) -> None:
    """Every tensor bit for bit; tokens, pictures and embeddings equal."""
    foreign.openai(tmp_path / "model", quick_gelu=True,
                   **({} if bias is None else {"init_logit_bias": bias}))  # fmt: skip
    built = import_source(f"file:{tmp_path / 'model'}")
    save(built, tmp_path / "artifact")
    manifest = export_open_clip(tmp_path / "artifact", tmp_path / "out")
    before, after = (load_file(tmp_path / folder / "open_clip_model.safetensors")
                     for folder in ("model", "out"))  # fmt: skip
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = built.model.logit_bias
    assert manifest["logit_bias"] == (None if own is None else own.item())
    assert (own is None) is (bias is None)
    # What spells out a mark is a mark to open_clip.
    assert manifest["tokenizer"]["library"] == "open_clip"
    assert manifest["tokenizer"]["differs_on"] == ["<s> </s> [CLS] <end_of_text>"]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    picture = Image.effect_noise((40, 30), 90).convert("RGB")
    predictor = Predictor(built)
    with torch.no_grad():
        texts = model.eval().encode_text(tokenizer(foreign.TEXTS), normalize=True)
        image = model.encode_image(preprocess(picture)[None], normalize=True)
    torch.testing.assert_close(torch.as_tensor(predictor.encode_texts(foreign.TEXTS)), texts,
                               rtol=0, atol=1e-5)  # fmt: skip
    torch.testing.assert_close(torch.as_tensor(predictor.encode_images(picture)), image,
                               rtol=0, atol=1e-5)  # fmt: skip


def test_another_tokenizer_and_projections(
    make_source: Callable[..., Source], tmp_path: Path
) -> None:
    """A vocabulary of its own lies in the folder; matrices are multiplied into the towers."""
    source = make_source(CLIP_VISION, CLIP_TEXT, LINEAR, LINEAR)
    manifest = write_open_clip(source, tmp_path / "out")
    assert manifest["tokenizer"]["library"] == "tokenizers"
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    model = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    names = ["красный круг", "синий квадрат"]
    with torch.no_grad():
        texts = model.encode_text(tokenizer(names), normalize=True)
    expected = Predictor(source.built).encode_texts(names)
    torch.testing.assert_close(texts, torch.as_tensor(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_bert_of_our_own_tokenizer(
    pooling: str, make_source: Callable[..., Source], tmp_path: Path
) -> None:
    source = make_source(CLIP_VISION, {**BERT, "pooling": pooling}, IDENTITY, LINEAR)
    write_open_clip(source, tmp_path / "out")
    name, names = f"local-dir:{tmp_path / 'out'}", ["красный круг", "синий квадрат"]
    model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
    with torch.no_grad():
        texts = model.encode_text(tokenizer(names), normalize=True)
    expected = Predictor(source.built).encode_texts(names)
    torch.testing.assert_close(texts, torch.as_tensor(expected), rtol=0, atol=1e-5)


REFUSED: dict[str, tuple[list[Any], str]] = {
    "a text encoder of our own": (
        [{**CLIP_VISION, "project": False}, BAG, LINEAR, LINEAR], "BagText has no form",
    ),
    "BERT with its pooler": (
        [CLIP_VISION, {**BERT, "pooling": "pooler"}, IDENTITY, LINEAR], "`pooler`",
    ),
    "a matrix with a bias behind BERT": (
        [CLIP_VISION, BERT, IDENTITY, {"use": "linear", "bias": True}], "without a bias",
    ),
    "another vision tower": ([SMALL_VIT, CLIP_TEXT, LINEAR, LINEAR], "SmallVit has no form"),
    "two activations": (
        [{**CLIP_VISION, "quick_gelu": False}, CLIP_TEXT, IDENTITY, IDENTITY], "one activation",
    ),
    "cut first": (
        [{**CLIP_VISION, "resize": "crop_first"}, CLIP_TEXT, IDENTITY, IDENTITY],
        "`resize: crop_first`",
    ),
    "no end mark": (
        [CLIP_VISION,
         {**CLIP_TEXT, "tokenizer": {"use": "trained", "from": "scratch", "marks": False}},
         IDENTITY, IDENTITY],
        "pools at the end mark",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_open_clip_has_no_form_of_is_refused(
    case: str, make_source: Callable[..., Source], tmp_path: Path
) -> None:
    parts, reason = REFUSED[case]
    with pytest.raises(WeightsError, match=reason):
        write_open_clip(make_source(*parts), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
