"""`static` and `tokenizer_json`: the numbers of model2vec, of the same folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from engine.contracts import PluginRef, pad_tokens
from engine.core.build import load_tower
from engine.errors import ConfigError, WeightsError
from engine_plugins.text.static import StaticText

from ..tokenizers.hub_folders import many_texts

model2vec = pytest.importorskip("model2vec")
MakeUse = Callable[..., PluginRef]


def backend(kind: str) -> Tokenizer:
    """A tokenizer as model2vec's folders have them."""
    letters = sorted({letter for text in many_texts(400) for letter in text.lower()} - {" ", "▁"})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{one}" for one in letters),
              "кот", "cat", "##ка", "red"]  # fmt: skip
    if kind == "wordpiece":
        made = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        made.enable_padding(pad_id=0, pad_token="[PAD]")
    else:
        scored = [("<unk>", 0.0), ("<pad>", 0.0), ("▁", -2.0), *((one, -3.0) for one in letters),
                  ("кот", -2.5), ("▁cat", -2.0)]  # fmt: skip
        made = Tokenizer(models.Unigram(scored, unk_id=0))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.add_special_tokens(["<unk>", "<pad>"])
    return made


def folder_of(
    top: Path, kind: str, *, factors: bool = False, mapping: bool = False, dtype: str = "float32"
) -> tuple[Path, Any]:
    """A folder that model2vec writes, and its model."""
    tokenizer = backend(kind)
    rng = np.random.default_rng(0)
    count = tokenizer.get_vocab_size()
    rows = 50 if mapping else count
    model = model2vec.StaticModel(
        rng.standard_normal((rows, 24)).astype(dtype),
        tokenizer,
        config={"model_type": "model2vec", "hidden_dim": 24, "pooling": "mean"},
        normalize=True,
        weights=rng.random(count) if factors else None,
        token_mapping=rng.integers(0, rows, count) if mapping else None,
    )
    model.save_pretrained(top)
    return top, model2vec.StaticModel.from_pretrained(str(top))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("wordpiece", {}),
        ("unigram", {}),
        ("wordpiece", {"factors": True}),
        ("unigram", {"factors": True, "mapping": True}),
        ("wordpiece", {"dtype": "float16"}),
    ],
)
def test_features_and_tokens_are_model2vecs(
    kind: str, more: dict[str, Any], tmp_path: Path, make_use: MakeUse
) -> None:
    folder, theirs = folder_of(tmp_path, kind, **more)
    source = f"file:{folder}"
    count = theirs.tokenizer.get_vocab_size()
    use = make_use(
        "text_encoder", "static", vocab_size=count, width=24, weights={"from": source},
        unknown_id=1 if kind == "wordpiece" else 0,
        tokenizer={"use": "tokenizer_json", "from": source, "marks": False},
    )  # fmt: skip
    tower = use.create().eval()
    assert isinstance(tower, StaticText)
    assert load_tower(tower, use, "text", lambda line: None).initialised == "loaded"
    tokenizer = use.settings.tokenizer.target().make(use.settings.tokenizer.settings, list, count)
    texts = list(many_texts())
    rows = tokenizer.encode(texts, 512)
    known = [[i for i in row if i != use.settings.unknown_id] for row in rows]
    assert known == theirs.tokenize(texts)
    with torch.no_grad():
        found = tower(pad_tokens(rows, tokenizer.pad_id))["pooled"]
    right = torch.from_numpy(theirs.encode(texts).astype("float32"))
    tolerance = 1e-3 if more.get("dtype") == "float16" else 1e-5  # theirs rounds its answer
    torch.testing.assert_close(
        torch.nn.functional.normalize(found, dim=-1), right, rtol=0, atol=tolerance
    )


def test_a_text_of_unknown_tokens_gives_zeros(make_use: MakeUse) -> None:
    use = make_use("text_encoder", "static", vocab_size=9, width=4, unknown_id=1,
                   tokenizer={"use": "trained"})  # fmt: skip
    out = use.create()({"ids": torch.tensor([[1, 1]]), "mask": torch.ones(1, 2, dtype=torch.bool)})
    assert not out["pooled"].any()


def test_a_wrong_folder_is_refused_by_name(tmp_path: Path, make_use: MakeUse) -> None:
    folder, theirs = folder_of(tmp_path, "wordpiece", mapping=True, factors=True)
    count = theirs.tokenizer.get_vocab_size()
    use = make_use("text_encoder", "static", vocab_size=count, width=24,
                   weights={"from": f"file:{folder}"}, tokenizer={"use": "trained"})  # fmt: skip
    tower = use.create()
    for broken, named in (
        ({"mapping": torch.full((count,), 50)}, "mapping"),
        ({"weights": torch.ones(3)}, "weights"),
        ({"embeddings": torch.ones(50, 7)}, "embedding.weight"),
    ):
        from safetensors.torch import load_file

        tensors = load_file(folder / "model.safetensors")
        with pytest.raises(WeightsError, match=named):
            tower.load_weights({**tensors, **broken}, "broken")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "bert"}))
    with pytest.raises(WeightsError, match="bert"):
        load_tower(tower, use, "text", lambda line: None)


def test_marks_are_the_files_own(tmp_path: Path, make_use: MakeUse) -> None:
    original = backend("wordpiece")
    original.no_padding()
    original.save(str(tmp_path / "tokenizer.json"))
    texts = list(many_texts(800))
    for marks in (True, False):
        use = make_use("tokenizer", "tokenizer_json", marks=marks, **{"from": f"file:{tmp_path}"})
        tokenizer = use.target().make(use.settings, list, 5000)
        right = [one.ids for one in original.encode_batch(texts, add_special_tokens=marks)]
        found = tokenizer.encode(texts, 600)
        assert [row for row in found if row != [1]] == [row or [1] for row in right if row
                                                        and row != [1]]  # fmt: skip


def test_it_needs_a_file(make_use: MakeUse) -> None:
    with pytest.raises((ValueError, ConfigError), match="reads a file"):
        make_use("tokenizer", "tokenizer_json")
