"""From a library to Engine and back: every tensor bit for bit, and the library's own answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
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
from engine.exchange.open_clip import export_open_clip
from engine.exchange.transformers import Form, export_transformers

from . import families
from . import foreign_folders as foreign
from .conftest import HubCache

NAMES = ["Красный КОТ", "дом", "слово и дело " * 9]
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
    "BERT with its pooler": (foreign.dual, "transformers"),
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


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "XLMRoberta"])
def test_a_sentence_encoder(kind: str, dense: bool, tmp_path: Path) -> None:
    """Texts alone, where no class of transformers has both towers."""
    original = families.sentences(tmp_path / "model", kind, dense=dense)
    foreign.openai(tmp_path / "images")
    built = import_source(f"file:{tmp_path / 'model'}", vision=f"file:{tmp_path / 'images'}")
    save(built, tmp_path / "artifact")
    manifest = export_transformers(tmp_path / "artifact", tmp_path / "out", "sentence_transformers")
    assert manifest["modalities"] == ["text"]
    assert manifest["class"] == f"{kind}Model"
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    found = model.encode(TEXTS)
    np.testing.assert_allclose(found, Predictor(built).encode_texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(found, original.encode(TEXTS), atol=1e-5)
    before = load_file(tmp_path / "model" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    unused = {name for name in before if name.startswith("pooler.")}  # sentence encoders read none
    assert after.keys() == before.keys() - unused
    assert all(torch.equal(after[name], before[name]) for name in after)


OPEN_CLIP: dict[str, Callable[[Path], Any]] = {
    "SigLIP": families.open_clip_siglip,
    "MobileCLIP": families.mobileclip,
    "ConvNeXt, two layers": families.convnext,
    "ConvNeXt, a matrix": partial(families.convnext, proj="linear"),
}


@pytest.mark.parametrize("family", list(OPEN_CLIP))
def test_open_clip(family: str, tmp_path: Path) -> None:
    """Every tensor bit for bit; tokens, pictures and embeddings equal."""
    original = OPEN_CLIP[family](tmp_path / "model")
    predictor = imported(tmp_path / "model")
    export_open_clip(tmp_path / "artifact", tmp_path / "out")
    check_equal(*(tmp_path / name / "open_clip_model.safetensors" for name in ("model", "out")))
    name = f"local-dir:{tmp_path / 'out'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    size = predictor.model.vision.preprocess.size
    pixels = families.pixels(size)
    with torch.no_grad():
        texts = model.eval().encode_text(tokenizer(TEXTS), normalize=True)
        images = model.encode_image(pixels, normalize=True)
        expected = original.encode_image(pixels, normalize=True)
        picture = Image.effect_noise((size + 9, size), 90).convert("RGB")
        one = model.encode_image(preprocess(picture)[None], normalize=True)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(predictor.encode_texts(TEXTS), texts, atol=1e-5)
    np.testing.assert_allclose(predictor.encode_images(picture), one, atol=1e-5)


ENCODERS = [
    ("xlm", "mean_pooler", "mlp"),
    ("xlm", "cls_last_hidden_state_pooler", "linear"),
    ("nllb", "cls_pooler", "linear"),
    ("nllb", "mean_pooler", "mlp"),
]


@pytest.mark.parametrize(("kind", "pooler", "proj"), ENCODERS)
def test_open_clip_over_an_encoder_of_transformers(
    kind: str, pooler: str, proj: str, tmp_path: Path, hub_cache: HubCache
) -> None:
    """Every tensor bit for bit, without the encoder's repository."""
    config = families.encoder(tmp_path / "encoder", kind)
    hub_cache(f"tiny/{kind}", tmp_path / "encoder")
    original = families.open_clip_of_encoder(tmp_path / "model", kind, config, (pooler, proj))
    predictor = imported(tmp_path / "model")
    shutil.rmtree(tmp_path / "hub")
    manifest = export_open_clip(tmp_path / "artifact", tmp_path / "out")
    assert any("hf_model_name" in note for note in manifest["notes"])
    check_equal(*(tmp_path / name / "open_clip_model.safetensors" for name in ("model", "out")))
    name = f"local-dir:{tmp_path / 'out'}"
    model = open_clip.create_model(name, require_pretrained=True).eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        texts = model.encode_text(tokenizer(TEXTS), normalize=True)
        right = original.encode_text(tokenizer(TEXTS), normalize=True)
    torch.testing.assert_close(texts, right, rtol=0, atol=1e-6)
    np.testing.assert_allclose(predictor.encode_texts(TEXTS), texts, atol=1e-5)


PROGRAMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "CLIP": (foreign.clip, "clip"),
    "SigLIP 2": (partial(families.siglip, second=True), "transformers"),
    "sentences": (foreign.clip, "sentence_transformers"),
    "BERT": (foreign.dual, "transformers"),
    "open_clip": (families.mobileclip, "open_clip"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", list(PROGRAMS))
def test_the_program_answers_as_engine_does(case: str, tmp_path: Path) -> None:
    """In a process of its own, in another folder: reading pictures, templates, truncation."""
    write, to = PROGRAMS[case]
    write(tmp_path / "model")
    templates = "zero_shot.templates=['{}', 'a photo of {}']"
    built = import_source(f"file:{tmp_path / 'model'}", overrides=[templates])
    save(built, tmp_path / "artifact")
    if to == "open_clip":
        manifest = export_open_clip(tmp_path / "artifact", tmp_path / "out")
    else:
        manifest = export_transformers(tmp_path / "artifact", tmp_path / "out", cast("Form", to))
    assert manifest["program"]
    lying = Image.Exif()
    lying[0x0112] = 6
    colours = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    half = Image.new("L", (400, 300), 128)
    clear = Image.merge("RGBA", [*Image.fromarray(colours).resize((400, 300)).split(), half])
    clear.save(tmp_path / "picture.png", exif=lying)
    done = subprocess.run(
        [sys.executable, "out/classify.py", "picture.png", *NAMES],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = Predictor(built).classify(tmp_path / "picture.png", NAMES, top=3)[0]
    expected = {answer.name: answer.probability for answer in answers}
    found = {line[7:]: float(line[:6]) for line in done.stdout.splitlines()}
    assert found == pytest.approx(expected, abs=2e-4)
    assert max(found.values()) - min(found.values()) > 1e-3
