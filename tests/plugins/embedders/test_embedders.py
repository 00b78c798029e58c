"""Embedders: the contract for both, models that cannot be used, and a tiny real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contracts import Embedder, PluginRef
from engine.core.sources import UnreachableError
from engine.errors import ArtifactError, ConfigError, DataError, WeightsError

MakeUse = Callable[..., PluginRef]
TEXTS = [
    "красный круг", "красные круги", "синий квадрат", "синие квадраты", "a red fox", "red foxes",
    "круг", "fox", "квадрат синий", "круг красный",
]  # fmt: skip


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence transformer with random weights: a BERT of one layer, 8 wide."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = sorted({letter for text in TEXTS for letter in text if letter != " "})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{w}" for w in words)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=40,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "plain")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder / "plain")
    transformer = Transformer(str(folder / "plain"))
    whole = SentenceTransformer(modules=[transformer, Pooling(8)])
    whole.save(str(folder / "whole"))
    return folder


def fitted(use: PluginRef) -> Embedder:
    embedder: Embedder = use.create()
    embedder.fit(TEXTS)
    return embedder


@pytest.fixture(params=["tfidf_svd", "sentence_transformer"])
def use(request: pytest.FixtureRequest, make_use: MakeUse, model: Path) -> PluginRef:
    if request.param == "tfidf_svd":
        return make_use("embedder", "tfidf_svd", width=6)
    return make_use("embedder", "sentence_transformer", model=f"file:{model / 'whole'}")


def test_the_contract(use: PluginRef) -> None:
    embedder = fitted(use)
    texts = [*TEXTS, "", "  ", "очень длинный текст " * 50]
    vectors = embedder.embed(texts)
    assert vectors.shape == (len(texts), embedder.width)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors[: len(TEXTS)], axis=1), 1, atol=1e-5)
    assert not vectors[len(TEXTS) : len(TEXTS) + 2].any()
    one_by_one = np.concatenate([embedder.embed([text]) for text in texts])
    assert np.allclose(one_by_one, vectors, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.width)
    again: Embedder = use.create()
    again.load_arrays(embedder.arrays())
    assert again.width == embedder.width
    assert np.allclose(again.embed(texts), vectors, atol=1e-6)


def test_same_texts_same_vectors(use: PluginRef) -> None:
    assert np.allclose(fitted(use).embed(TEXTS), fitted(use).embed(TEXTS), atol=1e-6)


@pytest.mark.parametrize("change", ["none", "renamed", "dtype", "shape"])
def test_arrays_of_a_stranger(use: PluginRef, change: str) -> None:
    embedder = fitted(use)
    arrays = embedder.arrays()
    key = max(arrays, key=lambda name: arrays[name].ndim)
    array = arrays.pop(key)
    if change == "renamed":
        arrays["renamed"] = array
    elif change != "none":
        arrays[key] = array.astype(np.float64) if change == "dtype" else array[:, 1:].copy()
    with pytest.raises(ArtifactError):
        use.create().load_arrays(arrays)


class TestTfidfSvd:
    def test_like_words_are_near(self, make_use: MakeUse) -> None:
        vectors = fitted(make_use("embedder", "tfidf_svd")).embed(TEXTS)
        like = vectors @ vectors.T
        assert like[0, 1] > 0.3 > like[0, 2]
        assert like[4, 5] > 0.3 > abs(like[4, 0])
        assert like[0, 9] == pytest.approx(1, abs=1e-5)  # the order of words does not count

    def test_nothing_known_is_no_direction(self, make_use: MakeUse) -> None:
        embedder = fitted(make_use("embedder", "tfidf_svd"))
        assert not embedder.embed(["щщщ", "12345", "\x00", "日本"]).any()

    @pytest.mark.parametrize("texts", [["x"], ["a", "a"], ["ab", "cd"]])
    def test_few_texts(self, make_use: MakeUse, texts: list[str]) -> None:
        embedder: Embedder = make_use("embedder", "tfidf_svd").create()
        embedder.fit(texts)
        vectors = embedder.embed(texts)
        assert vectors.shape == (len(texts), embedder.width)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_no_letters(self, make_use: MakeUse) -> None:
        with pytest.raises(DataError, match="nothing to learn"):
            make_use("embedder", "tfidf_svd").create().fit(["", " "])

    def test_lengths(self, make_use: MakeUse) -> None:
        with pytest.raises(ConfigError, match="`shortest`"):
            make_use("embedder", "tfidf_svd", shortest=4, longest=3).create()


class TestSentenceTransformer:
    def test_it_is_the_library_s_own(self, make_use: MakeUse, model: Path) -> None:
        from sentence_transformers import SentenceTransformer

        embedder: Embedder = make_use(
            "embedder", "sentence_transformer", model=f"file:{model / 'whole'}", batch_size=3
        ).create()
        theirs = SentenceTransformer(str(model / "whole"), device="cpu")
        expected = theirs.encode(TEXTS, normalize_embeddings=True)
        assert np.allclose(embedder.embed(TEXTS), expected, atol=1e-5)

    def test_a_plain_encoder_gets_mean_pooling(self, make_use: MakeUse, model: Path) -> None:
        vectors = [
            make_use("embedder", "sentence_transformer", model=f"file:{model / part}")
            .create()
            .embed(TEXTS)
            for part in ("plain", "whole")
        ]
        assert np.allclose(*vectors, atol=1e-5)

    def test_prompt_and_length(self, make_use: MakeUse, model: Path) -> None:
        def embed(text: str, **changes: Any) -> Any:
            use = make_use("embedder", "sentence_transformer",
                           model=f"file:{model / 'whole'}", **changes)  # fmt: skip
            return use.create().embed([text])

        assert np.allclose(embed("круг", prompt="fox: "), embed("fox: круг"), atol=1e-6)
        assert np.allclose(embed("к р у г", max_tokens=4), embed("к р", max_tokens=4), atol=1e-6)

    def test_another_model_of_the_same_name(
        self, make_use: MakeUse, model: Path, tmp_path: Path
    ) -> None:
        import shutil

        from safetensors.torch import load_file, save_file

        use = make_use("embedder", "sentence_transformer", model=f"file:{tmp_path / 'mine'}")
        shutil.copytree(model / "whole", tmp_path / "mine")
        arrays = use.create().arrays()
        use.create().load_arrays(arrays)
        path = tmp_path / "mine" / "model.safetensors"
        tensors = {name: tensor.flip(0).contiguous() for name, tensor in load_file(path).items()}
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ArtifactError, match="is not the model"):
            use.create().load_arrays(arrays)

    def test_code_is_refused(self, make_use: MakeUse, model: Path, tmp_path: Path) -> None:
        import shutil

        shutil.copytree(model / "whole", tmp_path / "mine")
        path = tmp_path / "mine" / "modules.json"
        modules = json.loads(path.read_text(encoding="utf-8"))
        modules[1]["type"] = "mine.Evil"
        path.write_text(json.dumps(modules), encoding="utf-8")
        (tmp_path / "mine" / "mine.py").write_text("raise SystemExit('ran')", encoding="utf-8")
        with pytest.raises(WeightsError, match=r"`mine\.Evil`.*refused"):
            make_use("embedder", "sentence_transformer", model=f"file:{path.parent}").create()

    @pytest.mark.parametrize("text", ["", "{}", '[{"type": 1}]', "[" * 100_000, "[{}]"])
    def test_a_damaged_list_of_modules(self, make_use: MakeUse, tmp_path: Path, text: str) -> None:
        (tmp_path / "modules.json").write_text(text, encoding="utf-8")
        with pytest.raises(WeightsError):
            make_use("embedder", "sentence_transformer", model=f"file:{tmp_path}").create()

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("file:{}/none", UnreachableError),
            ("hf:nobody/nothing", UnreachableError),
            ("package:there_is_no_such_package/model", UnreachableError),
            ("package:pluggy/pluggy", WeightsError),
            ("file:{}", WeightsError),
        ],
    )
    def test_no_model(
        self, make_use: MakeUse, tmp_path: Path, source: str, error: type[Exception]
    ) -> None:
        use = make_use("embedder", "sentence_transformer", model=source.format(tmp_path))
        with pytest.raises(error):
            use.create()

    def test_damaged_weights(self, make_use: MakeUse, model: Path, tmp_path: Path) -> None:
        import shutil

        shutil.copytree(model / "whole", tmp_path / "mine")
        (tmp_path / "mine" / "model.safetensors").write_bytes(b"\x00" * 100)
        with pytest.raises(WeightsError, match="cannot be used"):
            make_use("embedder", "sentence_transformer", model=f"file:{tmp_path / 'mine'}").create()

    @pytest.mark.parametrize("name", ["os.system", "package:pluggy", "https://x.y/z", "file:"])
    def test_what_is_no_source(self, make_use: MakeUse, name: str) -> None:
        with pytest.raises(ValueError, match="model"):
            make_use("embedder", "sentence_transformer", model=name)

    def test_torch_files_without_code(self, make_use: MakeUse, model: Path, tmp_path: Path) -> None:
        """Where a folder has no safetensors: tensors are read, and code in a pickle is not run."""
        import shutil

        import torch
        from safetensors.torch import load_file

        shutil.copytree(model / "plain", tmp_path / "mine")
        weights = tmp_path / "mine" / "model.safetensors"
        torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
        weights.unlink()
        use = make_use("embedder", "sentence_transformer", model=f"file:{tmp_path / 'mine'}")
        same = make_use("embedder", "sentence_transformer", model=f"file:{model / 'plain'}")
        assert np.allclose(use.create().embed(TEXTS), same.create().embed(TEXTS), atol=1e-6)
        ran = tmp_path / "ran"
        torch.save({"a": Evil(ran)}, weights.with_name("pytorch_model.bin"))
        with pytest.raises(WeightsError, match="cannot be used"):
            use.create()
        assert not ran.exists()

    def test_from_the_hub(
        self, make_use: MakeUse, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hub is asked once whether it can be reached, then for the files of a model alone."""
        import huggingface_hub

        from engine_plugins.embedders import sentence_transformer as module

        asked: dict[str, Any] = {}

        def download(repository: str, **options: Any) -> str:
            asked.update(options, repository=repository)
            return str(model / "whole")

        monkeypatch.setattr(module, "find_source", lambda source, names: {})
        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        use = make_use("embedder", "sentence_transformer", model="hf:somebody/encoder@v2")
        assert use.create().width == 8
        assert (asked["repository"], asked["revision"]) == ("somebody/encoder", "v2")
        assert "*.py" not in asked["allow_patterns"]

        def fail(repository: str, **options: Any) -> str:
            raise ConnectionError("gone in the middle")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(UnreachableError, match="gone in the middle"):
            use.create()


class Evil:
    """A pickle of it creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
