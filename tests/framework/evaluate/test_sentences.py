"""A model as a SentenceTransformer: the same numbers as Engine's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sentence_transformers import SentenceTransformer

from engine.errors import DataError
from engine.evaluate.predictor import Predictor

TEXTS = ["красный", "синий дом", "", "зелёный и белый " * 20]


def test_texts_and_pictures(predictor: Predictor, colours: dict[str, Image.Image]) -> None:
    model = predictor.as_sentence_transformer()
    assert isinstance(model, SentenceTransformer)
    np.testing.assert_allclose(model.encode(TEXTS), predictor.encode_texts(TEXTS), atol=1e-6)
    pictures = list(colours.values())
    found = model.encode(pictures, batch_size=3)
    np.testing.assert_allclose(found, predictor.encode_images(pictures), atol=1e-6)
    assert model.encode("красный").shape == (predictor.model.embed_dim,)
    assert model.get_embedding_dimension() == predictor.model.embed_dim
    similar = model.similarity(model.encode(TEXTS[:2]), found)
    assert similar.shape == (2, len(pictures))


def test_inputs_under_their_kind(predictor: Predictor, colours: dict[str, Image.Image]) -> None:
    """As MTEB hands them over."""
    model = predictor.as_sentence_transformer()
    pictures = list(colours.values())
    found = model.encode([{"image": picture} for picture in pictures])
    np.testing.assert_allclose(found, predictor.encode_images(pictures), atol=1e-6)
    np.testing.assert_allclose(
        model.encode([{"text": text} for text in TEXTS]), predictor.encode_texts(TEXTS), atol=1e-6
    )
    with pytest.raises((DataError, ValueError)):
        model.encode([{"text": "x", "image": pictures[0]}])


def test_the_right_picture_is_the_nearest(
    predictor: Predictor, colours: dict[str, Image.Image]
) -> None:
    model = predictor.as_sentence_transformer()
    texts, images = model.encode(list(colours)), model.encode(list(colours.values()))
    assert (texts @ images.T).argmax(axis=1).tolist() == list(range(len(colours)))


def test_weights_are_shared_and_a_prompt_counts(predictor: Predictor) -> None:
    model = predictor.as_sentence_transformer()
    own = {parameter.data_ptr() for parameter in predictor.model.parameters()}
    assert own == {parameter.data_ptr() for parameter in model.parameters()}
    found = model.encode(["дом"], prompt="красный ")
    np.testing.assert_allclose(found, predictor.encode_texts(["красный дом"]), atol=1e-6)


def test_it_is_not_saved(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not saved"):
        predictor.as_sentence_transformer().save(str(tmp_path / "x"))
