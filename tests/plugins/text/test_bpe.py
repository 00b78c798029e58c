"""`bpe_transformer` against its formula, written out a text at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts import PluginRef, State
from engine.contracts.plan import TensorPlan
from engine.errors import WeightsError

MakeUse = Callable[..., PluginRef]
Wild = Callable[..., Any]
BatchOf = Callable[..., State]

VOCABULARY = 60
SMALL = {"vocab_size": VOCABULARY, "max_tokens": 12, "width": 20, "layers": 3, "heads": 5}
CHOICES = list(itertools.product(("causal", "full"), ("end", "mean")))
LENGTHS = [12, 1, 5, 8, 2]


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def norm(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def attention(x: Tensor, weights: dict[str, Tensor], name: str, heads: int, causal: bool) -> Tensor:
    """[L, W] -> [L, W], a head at a time."""
    packed = x @ weights[f"{name}.in_proj_weight"].T + weights[f"{name}.in_proj_bias"]
    width = x.shape[1]
    size = width // heads
    mixed = []
    for head in range(heads):
        at = [part * width + head * size for part in range(3)]
        query, key, value = (packed[:, begin : begin + size] for begin in at)
        scores = query @ key.T / math.sqrt(size)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        mixed.append(scores.softmax(dim=1) @ value)
    return linear(torch.cat(mixed, dim=1), weights, f"{name}.out_proj")


def formula(ids: Tensor, weights: dict[str, Tensor], causal: bool, pooling: str) -> Tensor:
    """One text [L] -> features [W]."""
    x = weights["token_embedding.weight"][ids] + weights["positional_embedding"][: len(ids)]
    for i in range(SMALL["layers"]):
        block = f"transformer.resblocks.{i}"
        normed = norm(x, weights, f"{block}.ln_1")
        x = x + attention(normed, weights, f"{block}.attn", SMALL["heads"], causal)
        inner = linear(norm(x, weights, f"{block}.ln_2"), weights, f"{block}.mlp.c_fc")
        x = x + linear(inner / (1 + (-1.702 * inner).exp()), weights, f"{block}.mlp.c_proj")
    x = norm(x, weights, "ln_final")
    return x[-1] if pooling == "end" else x.mean(dim=0)


@pytest.mark.parametrize(("attends", "pooling"), CHOICES)
def test_the_features_are_the_formulas(
    attends: str, pooling: str, make_use: MakeUse, wild: Wild, batch_of: BatchOf
) -> None:
    use = make_use("text_encoder", "bpe_transformer", attention=attends, pooling=pooling, **SMALL)
    tower = wild(use.create())
    state = batch_of(LENGTHS, VOCABULARY)
    weights = tower.state_dict()
    expected = torch.stack(
        [
            formula(ids[:length], weights, attends == "causal", pooling)
            for ids, length in zip(state["ids"], LENGTHS, strict=True)
        ]
    )
    ours = tower(state)["pooled"]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    classes = torch.randn(20, 9)
    answers = [(functional.normalize(x, dim=1) @ classes).argmax(dim=1) for x in (ours, expected)]
    assert answers[0].tolist() == answers[1].tolist()


def test_the_choices_are_four_models(make_use: MakeUse, wild: Wild, batch_of: BatchOf) -> None:
    state = batch_of(LENGTHS, VOCABULARY)
    found = []
    for attends, pooling in CHOICES:
        chosen = {**SMALL, "attention": attends, "pooling": pooling}
        tower = wild(make_use("text_encoder", "bpe_transformer", **chosen).create())
        found.append(tower(state)["pooled"])
    for first, second in itertools.combinations(found, 2):
        assert (first - second).abs().max() > 0.01


def test_fresh_weights_are_drawn_as_clips(make_use: MakeUse) -> None:
    chosen = {**SMALL, "width": 100, "vocab_size": 500, "max_tokens": 50}
    fresh = make_use("text_encoder", "bpe_transformer", **chosen).create().state_dict()
    assert fresh["token_embedding.weight"].std().item() == pytest.approx(0.02, rel=0.03)
    assert fresh["positional_embedding"].std().item() == pytest.approx(0.01, rel=0.03)
    assert (fresh["ln_final.weight"] == 1).all()


def test_weights_of_ours_load_and_others_are_reported(make_use: MakeUse, wild: Wild) -> None:
    use = make_use("text_encoder", "bpe_transformer", **SMALL)
    first, second = wild(use.create()), use.create()
    second.load_weights(first.state_dict(), "here")
    assert all(torch.equal(t, first.state_dict()[n]) for n, t in second.state_dict().items())
    longer = {**first.state_dict(), "positional_embedding": torch.zeros(13, 20)}
    with pytest.raises(WeightsError, match=r"shape of positional_embedding: \(13, 20\) there"):
        second.load_weights(longer, "here")


def test_the_defaults_are_the_entrys(make_use: MakeUse) -> None:
    settings = make_use("text_encoder", "bpe_transformer").settings
    plan = settings.plan()
    assert (plan.width, plan.embedding_width) == (200, 200)
    assert plan.tensors["token_embedding.weight"] == TensorPlan((200_000, 200))
    blocks = {name.split(".")[2] for name in plan.tensors if "resblocks" in name}
    assert blocks == {"0", "1", "2", "3"}
    assert settings.heads == 10
