"""The public API: friendly answers, clear errors."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import BrokenImageError, DataError
from engine.evaluate import Answer
from engine.evaluate.predictor import Predictor, random_weights

Colours = dict[str, Image.Image]


def test_it_names_colours(predictor: Predictor, colours: Colours) -> None:
    answers = predictor.classify(list(colours.values()), list(colours))
    assert [row[0].name for row in answers] == list(colours)
    assert all(isinstance(row[0], Answer) and len(row) == 1 for row in answers)


def test_top_answers_are_in_order_and_sum_to_one(predictor: Predictor, colours: Colours) -> None:
    (answers,) = predictor.classify([colours["красный"]], ["синий", "красный", "жёлтый"], top=9)
    assert [a.name for a in answers] == ["красный", "жёлтый", "синий"]
    assert sum(a.probability for a in answers) == pytest.approx(1)
    assert (answers[0].index, answers[0].name) == (1, "красный")
    assert 0.5 < answers[0].probability < 1
    with pytest.raises(AttributeError):
        answers[0].index = 2  # type: ignore[misc]


def test_images_of_every_kind(predictor: Predictor, colours: Colours, tmp_path: Path) -> None:
    red = colours["красный"]
    red.save(tmp_path / "r.png")
    clear = np.zeros((5, 5, 4), np.uint8)  # nothing to be seen: white
    images: list[Any] = [
        red, tmp_path / "r.png", str(tmp_path / "r.png"), np.asarray(red),
        np.full((5, 5), 255, np.uint8), clear,
    ]  # fmt: skip
    names = [row[0].name for row in predictor.classify(images, ["чёрный", "белый", "красный"])]
    assert names == ["красный"] * 4 + ["белый"] * 2
    for one in (red, np.asarray(red), str(tmp_path / "r.png"), iter([red])):
        assert len(predictor.classify(one, ["красный", "синий"])) == 1
    assert len(predictor.classify(np.stack([np.asarray(red)] * 3), ["красный", "синий"])) == 3


def test_a_picture_in_every_form_gives_one_vector(
    predictor: Predictor, colours: Colours, tmp_path: Path
) -> None:
    """The same file as bytes, buffers, open files, paths and a Pillow image: one row each."""
    path = tmp_path / "r.png"
    colours["голубой"].save(path)
    data = path.read_bytes()
    used = io.BytesIO(data)
    used.read()  # as a buffer is after a picture was saved into it
    with path.open("rb") as file:
        forms: list[Any] = [
            data, bytearray(data), memoryview(data), io.BytesIO(data), used, file, file, path,
            str(path), Image.open(path), np.asarray(colours["голубой"]),
        ]  # fmt: skip
        rows = predictor.encode_images(forms)
        assert rows.shape == (len(forms), 3)
        assert np.abs(rows - rows[0]).max() == 0
        for one in (io.BytesIO(data), file, data):  # not a list of lines, or of numbers
            assert predictor.encode_images(one).shape == (1, 3)
        with pytest.raises(DataError, match="mode 'rb'"):
            predictor.encode_images(io.StringIO("x"))
        with pytest.raises(BrokenImageError, match="image 0: the file gave a str"):
            predictor.encode_images(SimpleNamespace(read=lambda size: "x"))


def test_texts_become_a_numpy_array(predictor: Predictor) -> None:
    rows = predictor.encode_texts(["красный", "синий"])
    assert isinstance(rows, np.ndarray)
    assert (rows.dtype, rows.shape) == (np.float32, (2, 3))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    rows[0] = 0  # its own memory, not a read-only view
    assert predictor.encode_texts([]).shape == (0, 3)


def test_it_shows_itself(predictor: Predictor, colours: Colours) -> None:
    predictor.config.name = "<b>имя</b>"
    shown = repr(predictor)
    for words in ("<b>имя</b>", "embed_dim=3", "vision=mean", "text=sum", "device=cpu", "RANDOM"):
        assert words in shown
    page = predictor._repr_html_()
    assert "&lt;b&gt;имя" in page
    assert "<b>" not in page
    answers = predictor.classify([colours["красный"]] * 101, ["<i>x", "красный"])
    table = answers._repr_html_()
    assert "<i>" not in table
    assert "and 1 more images" in table
    assert answers == list(answers)


def test_devices(predictor: Predictor) -> None:
    assert predictor.to("cpu") is predictor
    assert predictor.device == torch.device("cpu")
    for name in ("nonsense", "cuda:99", "meta"):
        with pytest.raises(DataError, match=f"device `{name}`"):
            predictor.to(name)
    assert predictor.to("auto").device.type in ("cpu", "cuda", "mps")
    predictor.to("cpu")


def test_a_classifier_computes_class_vectors_once(predictor: Predictor, colours: Colours) -> None:
    image = colours["красный"]
    classifier = predictor.classifier(["красный", "синий"])
    before = len(predictor.tokenizer.encoded)  # type: ignore[attr-defined]
    for _ in range(2):
        assert classifier.classify(image)[0][0].name == "красный"
    assert len(predictor.tokenizer.encoded) == before  # type: ignore[attr-defined]


def test_encoded_images_are_unit_rows_in_order(predictor: Predictor, colours: Colours) -> None:
    vectors = predictor.encode_images(list(colours.values()), batch_size=2)
    assert vectors.shape == (7, 3)
    assert isinstance(vectors, np.ndarray)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(7), rtol=1e-6)
    one_by_one = [predictor.encode_images(image) for image in colours.values()]
    np.testing.assert_allclose(vectors, np.concatenate(one_by_one), rtol=1e-6)
    assert not predictor.image_vectors(list(colours.values())).is_inference()


RED = Image.new("RGB", (4, 4), "red")


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        ([RED], [], "classes is empty"),
        ([RED], "кошка", "expected as a list, not as str"),
        ([RED], ["кошка", 3], "3 is a int"),
        ([RED], ["кошка", "собака", "кошка"], "twice: 'кошка'"),
        ([RED], ["кошка", "  "], "class name 1 is empty"),
        ([RED], None, "not as NoneType"),
        ([], ["кошка"], "images is empty"),
        ([RED, 5], ["кошка"], "image 1: a int is not a picture"),
        ([None], ["кошка"], "image 0: a NoneType"),
        (7, ["кошка"], "images are expected, not int"),
        ([np.zeros((4, 4, 3), np.int64)], ["кошка"], "int64, not uint8"),
        ([np.zeros((4, 4, 2), np.uint8)], ["кошка"], "its shape is"),
        ([np.zeros((0, 4, 3), np.uint8)], ["кошка"], "it is empty"),
        ([Image.new("RGB", (0, 4))], ["кошка"], "it is empty"),
    ],
)
def test_bad_arguments(predictor: Predictor, images: Any, classes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        predictor.classify(images, classes)


def test_top_must_be_positive(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="top=0"):
        predictor.classify(RED, ["кошка"], top=0)


def test_all_broken_images_are_named_at_once(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no")
    images = [RED, tmp_path / "bad.jpg", tmp_path / "none.jpg", RED]
    with pytest.raises(BrokenImageError) as caught:
        predictor.classify(images, ["кошка"], batch_size=1)
    assert "2 of 4" in str(caught.value)
    assert "bad.jpg: does not decode: not a JPEG" in str(caught.value)
    assert "none.jpg: no such file" in str(caught.value)


def test_random_weights_are_reported() -> None:
    loaded = {"source": "file:x", "initialised": "loaded", "reason": ""}
    fresh = {"source": "scratch", "initialised": "random", "reason": ""}
    lost = {"source": "hf:x/y", "initialised": "random", "reason": "hf:x/y: not reachable"}
    parts = {"vision": loaded, "text": lost, "text_projection": fresh}
    assert len(random_weights({"weights": parts, "stages": []})) == 2
    (warning,) = random_weights({"weights": parts, "stages": [{"name": "1"}]})
    assert "not reachable" in warning
    assert random_weights({"weights": {"vision": loaded}}) == []
    assert random_weights({}) == []
