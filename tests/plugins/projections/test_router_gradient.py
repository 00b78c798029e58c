"""What the router learns from: straight through a hard choice, and by its own logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts import State

Make = Callable[..., Any]
Texts = Callable[..., State]


def router_gradient(projection: Any, state: State, towards: Tensor) -> Tensor:
    """The gradient of ``<towards, embedding>`` at all of the router's parameters, one vector."""
    projection.zero_grad()
    (projection(state)["embedding"] * towards).sum().backward()
    return torch.cat([p.grad.flatten() for p in projection.router.parameters()])


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_all_rivals_give_the_mixtures_gradient(
    make: Make, texts: Texts, temperature: float
) -> None:
    """Exactly that of the soft mixture, although the value is the choice's alone."""
    common: dict[str, Any] = {"count": 5, "temperature": temperature}
    hard, soft = (
        make("clustered", rivals="all", **common),
        make("clustered", choice="soft", **common),
    )
    soft.load_state_dict(hard.state_dict())
    state, towards = texts(8), torch.randn(8, 10)
    expected = router_gradient(soft, state, towards)
    torch.testing.assert_close(router_gradient(hard, state, towards), expected)
    assert expected.abs().max() > 0.01
    with torch.no_grad():
        chosen = hard(state)["embedding"]
    assert torch.equal(hard(state)["embedding"].detach(), chosen)
    assert not torch.allclose(soft(state)["embedding"], chosen)


@pytest.mark.parametrize("rivals", [1, 3])
def test_drawn_rivals_give_it_on_average(make: Make, texts: Texts, rivals: int) -> None:
    many, some = 6000, texts(1)
    state = {name: tensor.expand(many, *tensor.shape[1:]) for name, tensor in some.items()}
    towards = torch.randn(1, 10).expand(many, -1) / many
    exact, drawn = (
        make("clustered", count=4, rivals="all"),
        make("clustered", count=4, rivals=rivals),
    )
    expected = router_gradient(exact, state, towards)
    torch.manual_seed(3)
    found = router_gradient(drawn, state, towards)
    assert functional.cosine_similarity(found, expected, dim=0) > 0.995
    assert 0.9 < found.norm() / expected.norm() < 1.1


def test_hard_in_training_reaches_router_and_chosen_projections(make: Make, texts: Texts) -> None:
    """Through the normalised embedding too, where scaling by p_k alone would give nothing."""
    projection, state = make("clustered", count=3).train(), texts(12)
    state["token_embeddings"].requires_grad_()
    target = functional.normalize(torch.randn(12, 10), dim=1)
    out = projection(state)
    (functional.normalize(out["embedding"], dim=1) * target).sum().backward()
    assert all(p.grad.abs().max() > 0 for n, p in projection.router.named_parameters()
               if "in_proj_bias" not in n)  # fmt: skip
    assert state["token_embeddings"].grad.abs().max() > 0
    for k, one in enumerate(projection.projections):
        used = bool((out["routed"] == k).any())
        assert (one.linear2.weight.grad is not None) == used


def test_projections_learn_only_where_they_are_chosen(make: Make, texts: Texts) -> None:
    """Rivals are only looked at: the chosen projection's gradient is that of the hard choice."""
    state = texts(10)
    gradients = []
    for rivals in (0, 2, "all"):
        projection = make("clustered", count=3, rivals=rivals)
        projection(state)["embedding"].square().sum().backward()
        gradients.append([one.linear1.weight.grad for one in projection.projections])
    for others in gradients[1:]:
        for one, other in zip(gradients[0], others, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(other, one)


def test_without_rivals_the_router_learns_by_its_logits_alone(make: Make, texts: Texts) -> None:
    projection, state = make("clustered", count=3, rivals=0), texts(5)
    out = projection(state)
    out["embedding"].sum().backward(retain_graph=True)
    assert all(p.grad is None for p in projection.router.parameters())
    functional.cross_entropy(out["router_logits"], torch.tensor([0, 1, 2, 0, 1])).backward()
    assert projection.router.output.weight.grad.abs().max() > 0


def test_nothing_is_drawn_where_no_gradient_is_tracked(make: Make, texts: Texts) -> None:
    projection, state = make("clustered", count=3), texts(5)
    before = torch.get_rng_state()
    with torch.no_grad():
        projection(state)
    projection.requires_grad_(False)(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_router_that_is_sure_stays_finite(make: Make, texts: Texts) -> None:
    projection, state = make("clustered", count=3), texts(5)
    with torch.no_grad():
        projection.router.output.bias[1] = 1e4
    out = projection(state)
    out["embedding"].square().sum().backward()
    assert out["routed"].tolist() == [1] * 5
    assert all(bool(p.grad.isfinite().all()) for p in projection.router.parameters())


def test_a_router_learns_which_projection_fits(make: Make, texts: Texts) -> None:
    """From the embedding's loss alone: two kinds of texts, one projection serves each."""
    projection = make("clustered", count=2, of={"use": "linear"})
    state = texts(64)
    kind = torch.arange(64) % 2
    state["token_embeddings"][..., 0] = torch.where(kind == 0, -2.0, 2.0)[:, None]
    with torch.no_grad():
        target = projection({**state, "cluster": kind})["embedding"]
        before = (projection(state)["routed"] == kind).float().mean()
    projection.projections.requires_grad_(False)
    optimiser = torch.optim.Adam(projection.router.parameters(), lr=0.003)
    torch.manual_seed(0)
    for _ in range(60):
        optimiser.zero_grad()
        (projection(state)["embedding"] - target).square().mean().backward()
        optimiser.step()
    assert before < 0.8
    assert (projection(state)["routed"] == kind).float().mean() > 0.95
