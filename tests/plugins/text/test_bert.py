"""`rubert` against transformers' BERT: numbers, names, files old and new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertForPreTraining, BertModel

from engine.contracts import PluginRef, State
from engine.core.weights import fetch
from engine.errors import WeightsError
from engine_plugins.text.bert import BertText

MakeUse = Callable[..., PluginRef]
Wild = Callable[..., Any]
BatchOf = Callable[..., State]

VOCABULARY = 97
SMALL = {"vocab_size": VOCABULARY, "n_positions": 24, "max_tokens": 15, "width": 32, "layers": 3,
         "heads": 4}  # fmt: skip
LENGTHS = [15, 2, 7, 1, 11, 3, 15, 6]
POOLINGS = ["first", "mean"]


def config_of(numbers: dict[str, Any]) -> BertConfig:
    width = numbers["width"]
    return BertConfig(
        vocab_size=numbers["vocab_size"],
        hidden_size=width,
        num_hidden_layers=numbers["layers"],
        num_attention_heads=numbers["heads"],
        intermediate_size=round(width * numbers.get("mlp_ratio", 4)),
        max_position_embeddings=numbers["n_positions"],
    )


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture
def original(wild: Wild) -> BertModel:
    model: BertModel = wild(BertModel(config_of(SMALL), add_pooling_layer=False))
    return model


@pytest.fixture
def tower(make_use: MakeUse) -> BertText:
    return make_use("text_encoder", "rubert", **SMALL).create().eval()


@pytest.fixture
def state(batch_of: BatchOf) -> State:
    return batch_of(LENGTHS, VOCABULARY)


def theirs(original: BertModel, state: State, pooling: str = "first") -> Tensor:
    """The original's last hidden state, at [CLS] or its mean over the tokens."""
    answer = original(input_ids=state["ids"], attention_mask=state["mask"].long())
    if pooling == "first":
        return answer.last_hidden_state[:, 0]
    texts = zip(answer.last_hidden_state, state["mask"], strict=True)
    return torch.stack([hidden[mask].mean(dim=0) for hidden, mask in texts])


def agree(ours: Tensor, theirs: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
    classes = torch.randn(theirs.shape[1], 19, generator=torch.Generator().manual_seed(5))
    answers = [(functional.normalize(x, dim=1) @ classes).argmax(dim=1) for x in (ours, theirs)]
    assert answers[0].tolist() == answers[1].tolist()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(
    "numbers",
    [{}, {"layers": 1, "heads": 1}, {"width": 30, "heads": 3, "mlp_ratio": 1.7, "max_tokens": 24}],
)
def test_the_features_are_the_originals(
    numbers: dict[str, Any], pooling: str, make_use: MakeUse, wild: Wild, batch_of: BatchOf
) -> None:
    chosen = {**SMALL, **numbers}
    original = wild(BertModel(config_of(chosen), add_pooling_layer=False))
    tower = make_use("text_encoder", "rubert", pooling=pooling, **chosen).create().eval()
    tower.load_weights(original.state_dict(), "the test")
    for seed, lengths in enumerate((LENGTHS, [4], [5, 5, 5], [chosen["max_tokens"], 1])):
        state = batch_of(lengths, VOCABULARY, seed)
        agree(tower(state)["pooled"], theirs(original, state, pooling))


@pytest.mark.slow
def test_the_features_are_the_originals_at_full_size(
    make_use: MakeUse, shaken: Callable[..., Any], batch_of: BatchOf
) -> None:
    """rubert-base-cased's own numbers, which are the plugin's defaults."""
    tower = make_use("text_encoder", "rubert").create().eval()
    assert 177e6 < sum(p.numel() for p in tower.parameters()) < 178e6
    original = shaken(BertModel(BertConfig(vocab_size=119547), add_pooling_layer=False))
    tower.load_weights(original.state_dict(), "the test")
    state = batch_of([15, 3, 8, 1], 119547)
    agree(tower(state)["pooled"], theirs(original, state))


def test_the_tensor_names_are_the_originals(original: BertModel, tower: BertText) -> None:
    shapes = {name: tensor.shape for name, tensor in original.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tower.state_dict().items()} == shapes
    original.load_state_dict(tower.state_dict(), strict=True)


def test_fresh_weights_are_drawn_as_the_originals(make_use: MakeUse) -> None:
    numbers = {**SMALL, "width": 96, "vocab_size": 400, "n_positions": 100}
    ours = make_use("text_encoder", "rubert", **numbers).create().state_dict()
    model = BertModel(config_of(numbers), add_pooling_layer=False)
    for name, tensor in model.state_dict().items():
        few = tensor.shape[0] == 2  # the token types: 192 numbers tell no deviation to 5 %
        assert ours[name].mean().item() == pytest.approx(tensor.mean().item(), abs=0.005), name
        wanted = pytest.approx(tensor.std().item(), rel=0.3 if few else 0.05)
        assert ours[name].std().item() == wanted, name


def old_names(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """As converted from TensorFlow, with the indices that old versions stored."""
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in named.items()
    }
    assert renamed.keys() != named.keys()
    return {**renamed, "bert.embeddings.position_ids": torch.arange(24)[None]}


def file_of(kind: str, original: BertModel) -> dict[str, Tensor]:
    """The same weights as one of the ways in which BERT is published."""
    bare = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    if kind == "bare":
        return bare
    if kind == "with pooler":
        whole = BertModel(original.config)
        whole.load_state_dict(bare, strict=False)
        return {**whole.state_dict(), "embeddings.token_type_ids": torch.zeros(1, 24).long()}
    training = BertForPreTraining(original.config)
    training.bert.load_state_dict(bare, strict=False)
    named = {name: tensor.clone() for name, tensor in training.state_dict().items()}
    assert {"cls.seq_relationship.weight", "bert.pooler.dense.weight"} <= named.keys()
    return named if kind == "pre-training" else old_names(named)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "alone.pt"])
@pytest.mark.parametrize("kind", ["bare", "with pooler", "pre-training", "old pre-training"])
def test_files_old_and_new(
    kind: str, file: str, original: BertModel, tower: BertText, state: State, tmp_path: Path
) -> None:
    path, tensors = tmp_path / file, file_of(kind, original)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    source = f"file:{path if file == 'alone.pt' else tmp_path}"
    tower.load_weights(fetch(source, "text"), source)
    agree(tower(state)["pooled"], theirs(original, state))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_longer_position_table_is_cut(
    pooling: str, original: BertModel, make_use: MakeUse, state: State
) -> None:
    chosen = {**SMALL, "n_positions": 15, "pooling": pooling}
    short = make_use("text_encoder", "rubert", **chosen).create().eval()
    short.load_weights(original.state_dict(), "the test")
    assert short.embeddings.position_embeddings.weight.shape == (15, 32)
    agree(short(state)["pooled"], theirs(original, state, pooling))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embeddings.LayerNorm.bias": None}, "missing: embeddings.LayerNorm.bias"),
        ({"encoder.layer.0.output.dens.bias": torch.zeros(32)}, "unknown: encoder.*output.dense"),
        (
            {"embeddings.word_embeddings.weight": torch.zeros(50, 32)},
            r"shape of embeddings.word_embeddings.weight: \(50, 32\) there",
        ),
        (
            {"embeddings.position_embeddings.weight": torch.zeros(20, 32)},
            r"shape of embeddings.position_embeddings.weight: \(20, 32\) there",
        ),
        (
            {"embeddings.position_embeddings.weight": torch.tensor(1.0)},
            r"shape of embeddings.position_embeddings.weight: \(\) there",
        ),
    ],
)
def test_weights_that_do_not_fit(
    change: dict[str, Tensor | None], words: str, original: BertModel, tower: BertText
) -> None:
    tensors = {**original.state_dict(), **change}
    with pytest.raises(
        WeightsError, match=f"weights of here do not fit BertText:\n(.*\n)*.*{words}"
    ):
        tower.load_weights({n: t for n, t in tensors.items() if t is not None}, "here")
