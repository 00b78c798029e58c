"""ruCLIP through a config, held to its own package (ruclip 0.0.2) on a folder made here."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.contracts.preprocess import to_batch, to_pixels
from engine.core.build import build, read_artifact, save
from engine.core.config import load_config
from engine.errors import EngineError
from engine.evaluate.predictor import Predictor

WHY = "`make oracles` installs ruclip and youtokentome, the originals that this compares with"
WORDS = [
    "кот", "собака", "красный", "дом", "на", "фото,", "видно", "изображение", "с", "машина", "ёж",
    "привет", "ёлка", "картинка", "изображено", "щенок,", "велосипед", "самолёт", "12", "cat",
]  # fmt: skip
NAMES = [
    "Кот", " собака ", "красный дом", "ёлка и ёж", "машина", "велосипед", "щенок", "самолёт",
    "Ёжик в тумане", "7 кошек", "photo of a cat", "дом " * 20,
]  # fmt: skip
NUMBERS = {
    "embed_dim": 24, "image_resolution": 32, "vision_layers": 2, "vision_width": 128,
    "vision_patch_size": 8, "context_length": 20, "vocab_size": 160, "transformer_width": 48,
    "transformer_heads": 4, "transformer_layers": 3,
}  # fmt: skip
CONFIG = """
engine: 1
name: ruclip
model:
  embed_dim: 24
  vision: {use: ruclip, weights: {from: "file:FOLDER"}}
  text: {use: ruclip, weights: {from: "file:FOLDER"}}
  projection: {vision: {use: identity}, text: {use: identity}}
zero_shot:
  lower: true
  average: raw
  templates:
    - "{}"
    - "фото, на котором изображено {}"
    - "изображение с {}"
    - "картинка с {}"
    - "фото с {}"
    - "на фото видно {}"
"""


@pytest.fixture(scope="module")
def package() -> Iterator[ModuleType]:
    """The package. It wants a function that today's huggingface_hub no longer has."""
    import huggingface_hub

    pytest.importorskip("youtokentome", reason=WHY)
    pytest.importorskip("more_itertools", reason=WHY)
    patch = pytest.MonkeyPatch()
    if not hasattr(huggingface_hub, "cached_download"):
        patch.setattr(huggingface_hub, "cached_download", None, raising=False)
    yield pytest.importorskip("ruclip", reason=WHY)
    patch.undo()


@pytest.fixture(scope="module", params=[{}, {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}])
def folder(
    request: pytest.FixtureRequest, package: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model's folder as ruCLIP publishes it, small, with random weights."""
    import youtokentome

    folder = tmp_path_factory.mktemp("ruclip")
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(400)]
    (folder / "texts.txt").write_text("\n".join(lines), encoding="utf-8")
    youtokentome.BPE.train(
        data=str(folder / "texts.txt"), model=str(folder / "bpe.model"),
        vocab_size=NUMBERS["vocab_size"], n_threads=1,
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(NUMBERS | request.param), encoding="utf-8")
    torch.manual_seed(1)
    model = package.CLIP(**NUMBERS)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def theirs(package: ModuleType, folder: Path) -> Any:
    """The package's own predictor on the folder."""
    model = package.CLIP.from_pretrained(str(folder))
    processor = package.RuCLIPProcessor.from_pretrained(str(folder))
    return package.Predictor(model, processor, "cpu")


@pytest.fixture(scope="module")
def ours(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Ours, built from a config that gives no number of the towers, and written and read again."""
    path = tmp_path_factory.mktemp("build") / "ruclip.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(folder)), encoding="utf-8")
    save(build(load_config(path)), path.parent / "model")
    return Predictor(read_artifact(path.parent / "model"))


def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 40), (90, 60), (31, 77), (200, 50), (32, 32), (64, 300), (20, 9), (500, 333)]
    coarse = [rng.integers(0, 256, (7, 5, 3), dtype=np.uint8) for _ in sizes]
    made = [
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        for pixels, size in zip(coarse, sizes, strict=True)
    ]
    plain = [Image.new("RGB", (50, 30), colour) for colour in ("black", "white", "red", "blue")]
    return [*made, *plain, made[1].convert("L"), made[2].convert("P"), made[3].convert("CMYK")]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_folder_gives_the_numbers(ours: Predictor, folder: Path) -> None:
    assert ours.warnings == []
    assert ours.manifest["weights"]["text"]["initialised"] == "loaded"
    text, vision = ours.config.model.text.settings, ours.config.model.vision.settings
    assert (text.width, text.layers, text.heads, text.max_tokens) == (48, 3, 4, 20)
    assert (vision.width, vision.layers, vision.heads, vision.image_size) == (128, 2, 2, 32)
    assert text.tokenizer.settings.from_ == f"file:{folder}"
    count = sum(p.numel() for p in ours.model.parameters())
    assert count == sum(t.numel() for t in torch.load(folder / "pytorch_model.bin").values())


def test_the_tokens_are_ruclips(ours: Predictor, theirs: Any) -> None:
    rng = random.Random(2)
    letters = "".join(WORDS) + "АБВ  .,!-🙂"
    texts = ["".join(rng.choices(letters, k=rng.randint(0, 50))) for _ in range(2000)]
    for text, ids in zip(texts, ours.tokenizer.encode(texts, 20), strict=True):
        padded = ids + [0] * (20 - len(ids))
        assert padded == theirs.clip_processor.encode_text(text).tolist(), text


def test_the_text_embeddings_are_ruclips(ours: Predictor, theirs: Any) -> None:
    ids = theirs.clip_processor(text=NAMES)["input_ids"]
    with torch.no_grad():
        expected = theirs.clip_model.encode_text(ids)
    assert expected.std(dim=0).min() > 1e-3
    close(ours.text_vectors(NAMES, raw=True), expected)
    close(ours.text_vectors(NAMES), expected / expected.norm(dim=-1, keepdim=True))


def test_the_class_vectors_are_ruclips(ours: Predictor, theirs: Any) -> None:
    with torch.no_grad():
        expected = theirs.get_text_latents(NAMES)
    found = ours.class_vectors(NAMES)
    close(found, expected)
    other = ours.text_vectors([name.lower().strip() for name in NAMES])
    assert (found - other).abs().max() > 1e-2  # the templates are seen in the vectors


def test_the_pixels_are_ruclips(ours: Predictor, theirs: Any) -> None:
    preprocess = ours.model.vision.preprocess
    for picture in pictures():
        expected = theirs.clip_processor(images=[picture])["pixel_values"]
        found = to_batch([to_pixels(picture.convert("RGB"), preprocess)], preprocess)
        assert torch.equal(found, expected)


def test_the_answers_are_ruclips(ours: Predictor, theirs: Any) -> None:
    with torch.no_grad():
        images = theirs.get_image_latents(pictures())
        classes = theirs.get_text_latents(NAMES)
        labels = theirs.run(pictures(), classes)
    close(ours.image_vectors(pictures()), images)
    assert len(set(labels)) > 1
    answers = ours.classify(pictures(), NAMES)
    assert [NAMES.index(row[0].name) for row in answers] == labels


@pytest.mark.parametrize("lost", ["bpe.model", "pytorch_model.bin"])
def test_a_folder_that_lacks_a_file_is_reported(lost: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != lost:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "ruclip.yaml"
    config.write_text(CONFIG.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    with pytest.raises(EngineError) as caught:
        build(load_config(config))
    assert f"file:{tmp_path} is there, but has none of the files wanted" in caught.value.message
    assert lost in caught.value.message
