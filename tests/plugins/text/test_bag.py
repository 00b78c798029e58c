"""`bag_of_tokens` against its formula, in training and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.contracts import PluginRef, State
from engine.contracts.plan import TensorPlan
from engine_plugins.text.bag import BagText

MakeUse = Callable[..., PluginRef]
Wild = Callable[..., Any]
BatchOf = Callable[..., State]

VOCABULARY = 60
SMALL = {"vocab_size": VOCABULARY, "max_tokens": 12, "width": 20, "layers": 3}
LENGTHS = [12, 1, 5, 8, 2, 12]


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture
def tower(make_use: MakeUse, wild: Wild) -> BagText:
    encoder: BagText = wild(make_use("text_encoder", "bag_of_tokens", **SMALL).create())
    return encoder


def means(state: State, table: Tensor) -> Tensor:
    """The mean token embedding of each text, by PyTorch's own bag."""
    texts = [ids[mask] for ids, mask in zip(state["ids"], state["mask"], strict=True)]
    offsets = torch.tensor([0, *(len(text) for text in texts)]).cumsum(0)[:-1]
    bag = nn.EmbeddingBag.from_pretrained(table, mode="mean")
    found: Tensor = bag(torch.cat(texts), offsets)
    byhand = torch.stack([table[text].mean(dim=0) for text in texts])
    torch.testing.assert_close(found, byhand, rtol=0, atol=1e-6)
    return found


def formula(x: Tensor, weights: dict[str, Tensor], *, training: bool) -> Tensor:
    for i in range(SMALL["layers"]):
        linear, norm = f"blocks.{i}.linear", f"blocks.{i}.norm"
        x = x @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
        mean, variance = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        if training:
            mean, variance = x.mean(dim=0), x.var(dim=0, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = (x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]).clamp(min=0)
    return x


@pytest.mark.parametrize("training", [False, True])
def test_the_features_are_the_formulas(tower: BagText, batch_of: BatchOf, training: bool) -> None:
    state = batch_of(LENGTHS, VOCABULARY)
    weights = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    expected = formula(means(state, weights["embedding.weight"]), weights, training=training)
    assert expected.count_nonzero() > 20
    ours = tower.train(training)(state)["pooled"]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    moved = not torch.equal(
        tower.state_dict()["blocks.0.norm.running_mean"], weights["blocks.0.norm.running_mean"]
    )
    assert moved == training


def test_the_order_of_tokens_does_not_count(tower: BagText, batch_of: BatchOf) -> None:
    state = batch_of([12, 12], VOCABULARY)
    turned = {**state, "ids": state["ids"].flip(1)}
    torch.testing.assert_close(tower(turned)["pooled"], tower(state)["pooled"], rtol=0, atol=1e-5)


def test_a_block_in_eval_mode_keeps_its_statistics(tower: BagText, batch_of: BatchOf) -> None:
    tower.train()
    tower.blocks[0].eval()
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    tower(batch_of(LENGTHS, VOCABULARY))
    changed = {n for n, t in tower.state_dict().items() if not torch.equal(t, before[n])}
    assert not [name for name in changed if name.startswith("blocks.0.")]
    assert "blocks.1.norm.running_mean" in changed


def test_weights_of_ours_load(tower: BagText, make_use: MakeUse) -> None:
    fresh = make_use("text_encoder", "bag_of_tokens", **SMALL).create()
    tower.blocks[1].norm.num_batches_tracked.fill_(7)
    fresh.load_weights(tower.state_dict(), "here")
    assert all(torch.equal(t, tower.state_dict()[n]) for n, t in fresh.state_dict().items())


def test_the_defaults_are_the_organisers(make_use: MakeUse) -> None:
    plan = make_use("text_encoder", "bag_of_tokens").settings.plan()
    assert (plan.width, plan.embedding_width) == (200, 200)
    assert plan.tensors["embedding.weight"] == TensorPlan((200_000, 200))
    assert {name.split(".")[1] for name in plan.tensors if "blocks" in name} == set("012345")
    assert plan.tensors["blocks.5.norm.num_batches_tracked"] == TensorPlan((), "int64", buffer=True)
