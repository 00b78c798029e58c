"""The classes of a classifier as data: rows of its last layer, names in any language."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from engine.contracts import PluginRef
from engine.core.fingerprint import tower_fingerprint
from engine.errors import DataError
from engine_plugins.datasets.classifier_head import ClassifierHead
from engine_plugins.datasets.settings import ClassifierHeadSettings

MakeUse = Callable[..., PluginRef]
ARCHS = ["test_vit", "test_convnext", "test_efficientnet", "resnet18"]


def weights(arch: str, folder: Path, classes: int = 5, **more: Any) -> Path:
    """A classifier of timm, saved."""
    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=classes)
    path = folder / f"{arch}.safetensors"
    save_file({**model.state_dict(), **more}, path)
    return path


def names(folder: Path, rows: Any) -> Path:
    path = folder / "names.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def head(make_use: MakeUse, arch: str, path: Path, **settings: Any) -> ClassifierHead:
    tower = make_use("vision_tower", "timm", arch=arch, weights={"from": f"file:{path}"})
    return ClassifierHead(ClassifierHeadSettings.model_construct(
        tower=tower, **{"names": None, "texts": "definitions", "language": "en", **settings}
    ))  # fmt: skip


@pytest.mark.parametrize("arch", ARCHS)
def test_rows_of_the_last_layer(arch: str, make_use: MakeUse, tmp_path: Path) -> None:
    path = weights(arch, tmp_path)
    own = [["кошка", "кот"], "собака", "рыба", "дом", "лес"]
    dataset = head(make_use, arch, path, names=names(tmp_path, own), language="ru")
    assert len(dataset) == 5
    assert dataset.record(0).queries == ("кошка", "кот")
    assert dataset.record(1).languages == ("ru",)
    assert dataset.classes[0] == "кошка, кот"
    torch.manual_seed(0)
    model = timm.create_model(arch, num_classes=5)
    rows = model.get_classifier().weight.detach().reshape(5, -1).numpy()
    centred = rows - rows.mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    found = np.stack([dataset.activation(i) for i in range(5)])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    tower = make_use("vision_tower", "timm", arch=arch, weights={"from": f"file:{path}"}).create()
    tower.load_weights(dict(model.state_dict()), "x")
    assert dataset.activations is not None
    assert dataset.activations.fingerprint == tower_fingerprint(tower)


def test_names_of_imagenet(make_use: MakeUse, tmp_path: Path) -> None:
    path = weights("test_vit", tmp_path, 1000)
    dataset = head(make_use, "test_vit", path)
    assert dataset.record(1).queries[0].startswith("goldfish, Carassius auratus: small golden")
    assert len(set(dataset.classes)) == 1000  # two of them are cranes
    plain = head(make_use, "test_vit", path, texts="names")
    assert plain.record(1).queries == ("goldfish", "Carassius auratus")
    both = head(make_use, "test_vit", path, texts="both").record(1)
    assert both.queries == (*dataset.record(1).queries, *plain.record(1).queries)
    assert dict(both.texts_in("en")) == dict(zip(both.queries, (2.0, 0.5, 0.5), strict=True))


@pytest.mark.parametrize(
    ("classes", "rows", "words"),
    [
        (5, None, "no names for a head of 5 classes"),
        (5, ["a", "b"], "names 2 classes, the head has 5"),
        (2, ["a", " "], "class 1 has no name"),
        (2, ["a", 3], "not a list of names"),
        (0, ["a"], "has no classifier"),
    ],
)
def test_what_is_refused(
    classes: int, rows: Any, words: str, make_use: MakeUse, tmp_path: Path
) -> None:
    path = weights("test_vit", tmp_path, classes)
    own = None if rows is None else names(tmp_path, rows)
    with pytest.raises(DataError, match=words):
        head(make_use, "test_vit", path, names=own)


def test_a_tower_without_weights_or_of_another_program(make_use: MakeUse) -> None:
    for name, words in (("timm", "has no weights"), ("small_vit", "not a model of timm")):
        more = {"arch": "test_vit"} if name == "timm" else {}
        tower = make_use("vision_tower", name, **more)
        with pytest.raises(DataError, match=words):
            ClassifierHead(ClassifierHeadSettings.model_construct(
                tower=tower, names=None, texts="names", language="en"
            ))  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("кошка\nсобака\n".encode("cp1251"), "cannot be read"),
        (b"", "names 0 classes, the head has 2"),
        (b"[" * 100_000, "is not JSON"),
        (b'["a", "b"', "is not JSON"),
        (None, "cannot be read"),
    ],
    ids=["another encoding", "empty", "nested", "cut short", "missing"],
)
def test_a_bad_file_of_names_is_refused(
    content: bytes | None, words: str, make_use: MakeUse, tmp_path: Path
) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        head(make_use, "test_vit", weights("test_vit", tmp_path, 2), names=path)
