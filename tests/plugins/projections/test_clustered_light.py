"""The light router: its formula, padding that it never sees, its plan, its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from engine.contracts import State
from engine.core.size import plan_of_module
from engine.errors import PluginError

from .conftest import EMBEDDING, IN, OUT, residual

Make = Callable[..., Any]
Texts = Callable[..., State]


@pytest.mark.parametrize("hidden", [1, 7, 256])
def test_each_row_by_the_formula(make: Make, texts: Texts, hidden: int) -> None:
    projection = make("clustered_light", count=3, router_width=hidden).eval()
    state, own = texts(9), projection.state_dict()
    out = projection(state)
    for row in range(9):
        mean = state["token_embeddings"][row][state["mask"][row]].mean(dim=0)
        normed = functional.layer_norm(
            mean, (EMBEDDING,), own["router.norm.weight"], own["router.norm.bias"]
        )
        inner = own["router.hidden.weight"] @ normed + own["router.hidden.bias"]
        logits = own["router.output.weight"] @ functional.gelu(inner) + own["router.output.bias"]
        torch.testing.assert_close(out["router_logits"][row], logits, rtol=1e-5, atol=1e-5)
        chosen = residual(own, state["pooled"][row], f"projections.{logits.argmax()}.")
        torch.testing.assert_close(out["embedding"][row], chosen, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", [7.0, float("inf"), float("nan")])
def test_padding_changes_nothing(make: Make, texts: Texts, padding: float) -> None:
    projection, state = make("clustered_light", count=4).eval(), texts(6)
    dirty = state["token_embeddings"].masked_fill(~state["mask"].unsqueeze(-1), padding)
    one, other = projection(state), projection({**state, "token_embeddings": dirty})
    assert torch.equal(one["router_logits"], other["router_logits"])
    assert torch.equal(one["embedding"], other["embedding"])


def test_a_text_without_tokens_gets_finite_logits(make: Make, texts: Texts) -> None:
    state = texts(2)
    out = make("clustered_light", count=3)({**state, "mask": torch.zeros_like(state["mask"])})
    assert out["router_logits"].isfinite().all()


@settings(max_examples=10, deadline=None)
@given(count=st.integers(2, 12), hidden=st.integers(1, 40), width=st.sampled_from([1, 6, 768]))
def test_plans_are_exact(make_use: Any, count: int, hidden: int, width: int) -> None:
    use = make_use("projection", "clustered_light", count=count, router_width=hidden)
    with torch.device("meta"):
        built = use.create(IN, OUT, embedding_width=width)
    assert use.settings.plan(IN, OUT, width) == plan_of_module(built)


def test_the_router_learns_from_the_embedding(make: Make, texts: Texts) -> None:
    projection, state = make("clustered_light", count=4, rivals="all").train(), texts(8)
    projection(state)["embedding"].pow(3).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in projection.router.parameters())


def test_refusals(make_use: Any) -> None:
    for outer in ("clustered", "clustered_light"):
        for inner in ("clustered", "clustered_light"):
            with pytest.raises(ValueError, match="another kind of projection than"):
                make_use("projection", outer, of={"use": inner})
    with pytest.raises(PluginError, match="only the text modality"):
        make_use("projection", "clustered_light").create(IN, OUT, embedding_width=None)
