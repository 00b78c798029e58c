"""Losses against their formulas, written out pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from engine.contracts import PluginRef, State
from engine.errors import EngineError

Make = Callable[..., PluginRef]


@pytest.fixture
def batch() -> State:
    generator = torch.Generator().manual_seed(3)

    def units() -> torch.Tensor:
        return functional.normalize(torch.randn(6, 5, generator=generator), dim=1)

    return {
        "image.embedding": units(), "text.embedding": units(), "scale": torch.tensor(7.0),
        "text.router_logits": torch.randn(6, 3, generator=generator),
        "cluster": torch.tensor([0, 2, 1, -1, 2, 2]),
    }  # fmt: skip


def test_contrastive_is_the_mean_over_both_sides(make_use: Make, batch: State) -> None:
    image, text = batch["image.embedding"].tolist(), batch["text.embedding"].tolist()
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i in range(6):
            logits = [7 * sum(a * b for a, b in zip(one[i], o, strict=True)) for o in other]
            total += math.log(sum(map(math.exp, logits))) - logits[i]
    loss = make_use("loss", "contrastive").create()(batch)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(total / 12, abs=1e-5)


def test_sigmoid_asks_of_every_pair(make_use: Make, batch: State) -> None:
    loss = make_use("loss", "sigmoid", bias=-2.0).create()
    total = 0.0
    for i, image in enumerate(batch["image.embedding"].tolist()):
        for j, text in enumerate(batch["text.embedding"].tolist()):
            logit = 7 * sum(a * b for a, b in zip(image, text, strict=True)) - 2
            total += math.log1p(math.exp(-logit if i == j else logit))
    found = loss(batch)
    assert float(found.detach()) == pytest.approx(total / 6, abs=1e-5)
    found.backward()
    assert loss.bias.grad is not None
    assert [name for name, _ in loss.named_parameters()] == ["bias"]


def test_router_leaves_unknown_clusters_out(make_use: Make, batch: State) -> None:
    use = make_use("loss", "router", weight=0.3)
    logits, cluster = batch["text.router_logits"], batch["cluster"]
    known = cluster >= 0
    expected = functional.cross_entropy(logits[known], cluster[known])
    assert float(use.create()(batch)) == pytest.approx(float(expected), abs=1e-6)
    none = {**batch, "cluster": torch.full((6,), -1)}
    assert float(use.create()(none)) == 0.0
    assert use.create().needed() == {"text.router_logits", "cluster"}


def test_balance_is_one_when_even_and_k_when_collapsed(make_use: Make) -> None:
    loss = make_use("loss", "balance").create()
    even = {"text.router_logits": 50 * torch.eye(4).repeat(3, 1)}
    collapsed = {"text.router_logits": 50 * torch.eye(4)[[0] * 12]}
    assert float(loss(even)) == pytest.approx(1.0, abs=1e-5)
    assert float(loss(collapsed)) == pytest.approx(4.0, abs=1e-5)
    # Its gradient moves texts away from the cluster that has most.
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 1.0]], requires_grad=True)
    loss({"text.router_logits": logits}).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] > 0).all()


def test_smoothing_is_that_of_pytorch(make_use: Make, batch: State) -> None:
    logits = 7 * batch["image.embedding"] @ batch["text.embedding"].T
    right = torch.arange(6)
    expected = sum(
        functional.cross_entropy(one, right, label_smoothing=0.1) for one in (logits, logits.T)
    )
    loss = make_use("loss", "contrastive", smoothing=0.1).create()(batch)
    assert float(loss) == pytest.approx(float(expected) / 2, abs=1e-6)


def test_a_weight_below_zero_is_refused(make_use: Make) -> None:
    with pytest.raises((EngineError, ValueError)):
        make_use("loss", "contrastive", weight=-1.0)


TEXTS = torch.tensor([5, 8, 5, 9, 8, 5])
WEIGHTS = torch.tensor([1.0, 0.0, 2.5, 1.0, 0.5, 3.0])


def by_hand(
    name: str, batch: State, *, masked: bool, weighted: bool, smoothing: float = 0.0
) -> float:
    """The losses written out, pair by pair."""
    cosines = (7 * batch["image.embedding"] @ batch["text.embedding"].T).tolist()
    weight = WEIGHTS.tolist() if weighted else [1.0] * 6
    counts = [
        [i == j or not masked or bool(TEXTS[i] != TEXTS[j]) for j in range(6)] for i in range(6)
    ]
    total = 0.0
    for i in range(6):
        if name == "contrastive":
            for logits in (cosines[i], [row[i] for row in cosines]):
                seen = [logits[j] for j in range(6) if counts[i][j]]
                norm = math.log(sum(map(math.exp, seen)))
                spread = sum(norm - one for one in seen) / len(seen)
                own = norm - logits[i]
                total += weight[i] * ((1 - smoothing) * own + smoothing * spread) / 2
        else:
            for j in range(6):
                logit = cosines[i][j] - 10
                pair = math.log1p(math.exp(-logit if i == j else logit))
                total += counts[i][j] * pair * (weight[i] + weight[j]) / 2
    return total / sum(weight)


@pytest.mark.parametrize("name", ["contrastive", "sigmoid"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_equal_texts_and_weights_of_rows(
    make_use: Make, batch: State, name: str, masked: bool, weighted: bool, smoothing: float
) -> None:
    more = {"smoothing": smoothing} if name == "contrastive" else {}
    loss = make_use("loss", name, equal_texts="masked" if masked else "negatives", **more).create()
    assert ("text.id" in loss.needed()) == masked
    given = {**batch, "text.id": TEXTS} | ({"pair.weight": WEIGHTS} if weighted else {})
    given["image.embedding"] = batch["image.embedding"].clone().requires_grad_()
    found = loss(given)
    expected = by_hand(name, batch, masked=masked, weighted=weighted, smoothing=smoothing)
    if name == "sigmoid":
        expected = by_hand(name, batch, masked=masked, weighted=weighted)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert given["image.embedding"].grad is not None
    assert given["image.embedding"].grad.isfinite().all()


def test_the_sigmoid_loss_takes_the_bias_of_the_model(make_use: Make, batch: State) -> None:
    own = make_use("loss", "sigmoid", bias=-2.0).create()
    other = make_use("loss", "sigmoid", bias=5.0).create()
    bias = torch.tensor(-2.0, requires_grad=True)
    found = other({**batch, "bias": bias})
    assert float(found.detach()) == pytest.approx(float(own(batch).detach()))
    found.backward()
    assert bias.grad is not None
    assert other.bias.grad is None


PARTED = [
    ("contrastive", {}, ()),
    ("contrastive", {"smoothing": 0.1}, ("pair.weight",)),
    ("contrastive", {"equal_texts": "masked", "smoothing": 0.1}, ("text.id",)),
    ("contrastive", {"equal_texts": "masked"}, ("text.id", "pair.weight")),
    ("sigmoid", {"bias": -2.0}, ()),
    ("sigmoid", {"equal_texts": "masked"}, ("text.id", "pair.weight", "bias")),
    ("affinity", {"teacher": "t"}, ()),
    ("affinity", {"teacher": "t"}, ("pair.weight",)),
    ("teacher_logits", {"teacher": "t"}, ()),
    ("teacher_logits", {"teacher": "t", "against": "image"}, ("pair.weight",)),
]


@pytest.mark.parametrize("cuts", [(0, 3, 6), (0, 1, 3, 6), (0, 1, 2, 3, 4, 5, 6)])
@pytest.mark.parametrize(("name", "settings", "more"), PARTED)
def test_the_parts_of_all_rows_are_the_loss(
    make_use: Make, batch: State, name: str, settings: dict[str, object], more: tuple[str, ...],
    cuts: tuple[int, ...],
) -> None:  # fmt: skip
    """Value and gradients; what two and three processes compute between them."""
    generator = torch.Generator().manual_seed(4)
    batch["teacher.t.image"] = torch.randn(6, 5, generator=generator)
    batch["teacher.t.text"] = torch.randn(6, 5, generator=generator)
    extra = {
        "text.id": torch.tensor([1, 2, 1, 3, 2, 1]),
        "pair.weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 1.0, 3.0]),
        "bias": torch.tensor(-3.0),
    }
    loss = make_use("loss", name, **settings).create()
    assert loss.by_rows
    names = (loss.needed() | set(more)) & (batch.keys() | extra.keys())
    entries = {n: t for n, t in {**batch, **extra}.items() if n in names}
    found = []
    for rows in ([], [slice(a, b) for a, b in pairwise(cuts)]):
        leaves = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in entries.items()}
        loss.zero_grad()
        total = sum(loss.part(leaves, some) for some in rows) if rows else loss(leaves)
        total.backward()
        own = [p.grad.clone() for p in loss.parameters() if p.grad is not None]
        found.append([total.detach(), *(t.grad for t in leaves.values()), *own])
    for one, other in zip(*found, strict=True):
        if one is None:
            assert other is None
        else:
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_losses_that_need_the_whole_batch_say_so(make_use: Make, batch: State) -> None:
    loss = make_use("loss", "balance").create()
    assert not loss.by_rows
    with pytest.raises(NotImplementedError, match="Balance needs the whole batch"):
        loss.part(batch, slice(0, 3))
