"""Static embeddings that begin at a teacher's vectors: model2vec's distillation as the oracle."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.contracts import PluginRef, Teacher, pad_tokens
from engine.contracts.teacher import TeacherSettings, bare_piece
from engine.core.build import build
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.errors import DataError, PluginError
from engine_plugins.text.static_start import principal_components, zipf_weights

from ..tokenizers.hub_folders import many_texts

MakeUse = Callable[..., PluginRef]
MakeConfig = Callable[[Mapping[str, Any]], EngineConfig]
HIDDEN, WIDTH = 24, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence encoder with random weights: a BERT of two layers and 250 pieces or so."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    top = tmp_path_factory.mktemp("teacher")
    letters = sorted({x for text in many_texts(400) for x in text.lower() if x.isalpha()})
    letters = [x for x in letters if unicodedata.normalize("NFD", x) == x]
    vocabulary = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters,
                  *(f"##{one}" for one in letters), "кот", "cat", "##ка", "red"]  # fmt: skip
    (top / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=512, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(top / "plain")
    BertTokenizerFast(vocab=str(top / "vocab.txt")).save_pretrained(top / "plain")
    modules = [Transformer(str(top / "plain")), Pooling(HIDDEN), Normalize()]
    SentenceTransformer(modules=modules).save(str(top / "whole"))
    return top / "whole"


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A config with this section `model.text`."""

    def make(text: Mapping[str, Any]) -> EngineConfig:
        vision = {"use": "small_vit", "image_size": 16, "convolutions": 2, "width": 16,
                  "layers": 1, "heads": 2}  # fmt: skip
        projection = {"vision": {"use": "linear"}, "text": {"use": "linear"}}
        model = {"embed_dim": 8, "vision": vision, "text": text, "projection": projection}
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"engine": 1, "name": "start", "model": model}), "utf-8")
        return load_config(path)

    return make


def static(folder: Path, **start: Any) -> dict[str, Any]:
    """The section `model.text` of a config."""
    return {
        "use": "static", "vocab_size": 5000, "width": WIDTH, "unknown_id": 3,
        "tokenizer": {"use": "tokenizer_json", "from": f"file:{folder}", "marks": False},
        "start": {"teacher": {"use": "sentence_transformer", "model": f"file:{folder}"}, **start},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("start", "theirs"),
    [
        ({}, {}),
        ({"zipf": None}, {"sif_coefficient": None}),
        ({"zipf": 1e-2}, {"sif_coefficient": 1e-2}),
        ({"pca": False}, {"pca_dims": None}),
    ],
)
def test_the_table_is_model2vecs(
    start: dict[str, Any], theirs: dict[str, Any], folder: Path, make_config: MakeConfig
) -> None:
    pytest.importorskip("skeletoken", reason="what model2vec distils with")
    from model2vec.distill import distill

    width = HIDDEN if start.get("pca") is False else WIDTH
    pca = {} if start.get("pca") is False else {"pca_dims": WIDTH}
    oracle = distill(str(folder), quantize_to="float32", device="cpu", **pca, **theirs)
    text = {**static(folder, **start), "width": width}
    built = build(make_config(text))
    assert built.manifest["weights"]["text"]["initialised"] == "fitted"
    assert "sentence_transformer" in built.manifest["weights"]["text"]["source"]
    table = built.model.text.state_dict()["embedding.weight"].numpy()
    pieces = built.tokenizer.pieces()
    right = {piece: oracle.embedding[i] for piece, i in oracle.tokenizer.get_vocab().items()}
    assert right.keys() == {p for p in pieces.values() if not p.startswith("[unused")}
    scale = np.abs(oracle.embedding).max()
    for number, piece in pieces.items():
        if piece in right:
            np.testing.assert_allclose(table[number] / scale, right[piece] / scale, atol=1e-5)
    texts = [text for text in many_texts(200) if text.strip()]
    rows = built.tokenizer.encode(texts, 512)
    with torch.no_grad():
        found = built.model.text(pad_tokens(rows, built.tokenizer.pad_id))["pooled"]
    known = torch.nn.functional.normalize(found, dim=-1).numpy()
    np.testing.assert_allclose(known, oracle.encode(texts), atol=1e-4)


class Letters(Teacher):
    """Counts letters; it has no vocabulary of its own."""

    width = 6
    asked: list[str]

    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__(settings)
        type(self).asked = []

    def identity(self) -> str:
        return "letters"

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        type(self).asked += texts
        seeds = [sum(map(ord, text)) for text in texts]
        return np.array([np.random.default_rng(s).standard_normal(6) for s in seeds], np.float32)


class Plugged:
    """The teacher as the registry would give it."""

    kind, name = "teacher", "letters"

    def load(self) -> type[Letters]:
        return Letters

    def load_settings(self) -> type[TeacherSettings]:
        return TeacherSettings


def with_letters(config: EngineConfig, **start: Any) -> EngineConfig:
    """The config with the teacher above."""
    settings = config.model.text.settings
    new = settings.start.model_copy(
        update={"teacher": PluginRef(Plugged(), TeacherSettings()), **start}
    )
    settings = settings.model_copy(update={"start": new})
    text = PluginRef(config.model.text.plugin, settings)
    return config.model_copy(update={"model": config.model.model_copy(update={"text": text})})


def test_any_teacher_of_texts_will_do(folder: Path, make_config: MakeConfig) -> None:
    """A piece is read as a text, without the signs of its place in a word."""
    config = with_letters(make_config({**static(folder), "width": 4}))
    built = build(config)
    assert {"кот", "ка", "[UNK]"} <= set(Letters.asked)
    assert not any(text.startswith(("##", "[unused", "[CLS")) for text in Letters.asked if text[2:])
    table = built.model.text.state_dict()["embedding.weight"]
    marks = set(range(len(table))) - set(built.tokenizer.pieces()) | {1, 2}
    assert not table[sorted(marks)].any()
    assert torch.isfinite(table).all()


@pytest.mark.parametrize(
    ("width", "start", "words"),
    [(7, {}, "gives 6 numbers"), (4, {"pca": False}, "gives 6 numbers"),
     (4500, {}, "too few for 4500")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    width: int, start: dict[str, Any], words: str, folder: Path, make_config: MakeConfig
) -> None:
    text = {**static(folder), "width": width}
    with pytest.raises(DataError, match=words):
        build(with_letters(make_config(text), **start))


def test_hashed_pieces_have_no_names(make_use: MakeUse) -> None:
    use = make_use("tokenizer", "char_ngrams")
    with pytest.raises(PluginError, match="names no pieces"):
        use.target().make(use.settings, list, 100).pieces()


def test_the_numbers_of_the_method() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)) * np.arange(1, 9)
    found = principal_components(vectors, 3)
    from sklearn.decomposition import PCA

    right = PCA(3, svd_solver="full").fit_transform(vectors)
    np.testing.assert_allclose(np.abs(found), np.abs(right), atol=1e-9)
    assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()
    weights = zipf_weights(5, 0.1)
    assert (np.diff(weights) > 0).all()  # the rarer, the more
    assert zipf_weights(3, None).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("piece", "bare"),
    [("##ing", "ing"), ("▁кот", "кот"), ("Ġcat", "cat"), ("cat</w>", "cat"), ("##", "##"),
     ("▁", "▁"), ("a", "a")],
)  # fmt: skip
def test_a_piece_without_its_signs(piece: str, bare: str) -> None:
    assert bare_piece(piece) == bare
