"""From a library to Engine and back: every tensor bit for bit, and the library's own answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from engine.core.build import save
from engine.evaluate.predictor import Predictor
from engine.exchange.by_name import import_source
from engine.exchange.transformers import Form, export_transformers

from . import families
from . import foreign_folders as foreign

TEXTS = ["красный кот", "Белый ДОМ; летом!", "a photo of a dog", "x"]


def imported(folder: Path) -> Predictor:
    built = import_source(f"file:{folder}")
    save(built, folder.with_name("artifact"))
    return Predictor(built)


def check_equal(before: Path, after: Path) -> None:
    """Two files of tensors: the same names, the same bits."""
    ours, theirs = load_file(after), load_file(before)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


FAMILIES: dict[str, tuple[Callable[[Path], Any], Form]] = {
    "SigLIP": (families.siglip, "transformers"),
    "SigLIP with GELU": (partial(families.siglip, hidden_act="gelu"), "transformers"),
    "SigLIP 2": (partial(families.siglip, second=True), "transformers"),
    "CLIP": (foreign.clip, "clip"),
}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_transformers(family: str, tmp_path: Path) -> None:
    write, form = FAMILIES[family]
    original = write(tmp_path / "model")
    predictor = imported(tmp_path / "model")
    manifest = export_transformers(tmp_path / "artifact", tmp_path / "out", form)
    assert manifest["class"] == type(original).__name__
    check_equal(*(tmp_path / name / "model.safetensors" for name in ("model", "out")))
    model = transformers.AutoModel.from_pretrained(tmp_path / "out", local_files_only=True)
    assert type(model) is type(original)
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(text=TEXTS, padding=manifest["padding"], truncation=True,
                       return_tensors="pt")  # fmt: skip
    with torch.no_grad():
        texts = normalize(model.eval().get_text_features(**inputs).pooler_output, dim=-1)
    np.testing.assert_allclose(predictor.encode_texts(TEXTS), texts, atol=1e-5)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_sentence_transformers(family: str, tmp_path: Path) -> None:
    """``encode`` of the folder is Engine's, of texts and of pictures."""
    FAMILIES[family][0](tmp_path / "model")
    predictor = imported(tmp_path / "model")
    manifest = export_transformers(tmp_path / "artifact", tmp_path / "out", "sentence_transformers")
    assert manifest["encode"]["texts"]["largest_difference"] < 1e-5
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(model.encode(TEXTS), predictor.encode_texts(TEXTS), atol=1e-5)
    size = predictor.model.vision.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    picture = Image.fromarray(noise)
    np.testing.assert_allclose(model.encode([picture]), predictor.encode_images(picture), atol=1e-5)
    assert model.similarity_fn_name == "cosine"
