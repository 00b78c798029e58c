"""Clustered: what it computes, row by row; whom its gradients reach; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.contracts import PluginRef, Projection, ProjectionSettings, State
from engine.core.size import plan_of_module
from engine.errors import ConfigError, PluginError

from .conftest import EMBEDDING, IN, OUT, residual

Make = Callable[..., Any]
Texts = Callable[..., State]


def route(tensors: dict[str, Tensor], embeddings: Tensor, heads: int, blocks: int = 1) -> Tensor:
    """One text's tokens [L, E], padding cut off -> logits [K], by PyTorch's own attention."""
    hidden = embeddings
    for i in range(blocks):
        own = {k.removeprefix(f"router.blocks.{i}."): v for k, v in tensors.items()}
        attention = nn.MultiheadAttention(EMBEDDING, heads)
        attention.load_state_dict(
            {k.removeprefix("attn."): v for k, v in own.items() if k.startswith("attn.")}
        )

        def norm(x: Tensor, name: str, own: dict[str, Tensor] = own) -> Tensor:
            weight, bias = own[f"{name}.weight"], own[f"{name}.bias"]
            return nn.functional.layer_norm(x, (EMBEDDING,), weight, bias)

        normed = norm(hidden, "ln_1")
        hidden = hidden + attention(normed, normed, normed)[0]
        wide = norm(hidden, "ln_2") @ own["mlp.c_fc.weight"].T + own["mlp.c_fc.bias"]
        wide = wide * torch.sigmoid(1.702 * wide)
        hidden = hidden + wide @ own["mlp.c_proj.weight"].T + own["mlp.c_proj.bias"]
    return tensors["router.output.weight"] @ hidden[-1] + tensors["router.output.bias"]


def row_by_row(projection: Any, state: State, heads: int, blocks: int = 1) -> State:
    """The whole formula, one text at a time."""
    tensors = projection.state_dict()
    rows: list[tuple[Tensor, Tensor]] = []
    columns = (state["pooled"], state["token_embeddings"], state["mask"])
    for features, embeddings, mask in zip(*columns, strict=True):
        logits = route(tensors, embeddings[mask], heads, blocks)
        every = torch.stack(
            [
                residual(tensors, features, f"projections.{k}.")
                for k in range(projection.settings.count)
            ]
        )
        if projection.settings.choice == "hard":
            rows.append((every[logits.argmax()], logits))
        else:
            weights = (logits / projection.settings.temperature).softmax(dim=0)
            rows.append((weights @ every, logits))
    return {
        "embedding": torch.stack([row[0] for row in rows]),
        "router_logits": torch.stack([row[1] for row in rows]),
    }


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    rows=st.integers(1, 12),
    count=st.integers(2, 9),
    blocks=st.integers(1, 2),
    heads=st.sampled_from([1, 2, 4]),
    kind=st.sampled_from([("hard", 1.0), ("soft", 1.0), ("soft", 0.1)]),
    seed=st.integers(0, 50),
)
def test_equals_the_formula_row_by_row(
    make: Make, texts: Texts, rows: int, count: int, blocks: int, heads: int, kind: Any, seed: int
) -> None:
    projection = make(
        "clustered", seed, count=count, choice=kind[0], temperature=kind[1],
        router={"blocks": blocks, "heads": heads},
    )  # fmt: skip
    state = texts(rows, seed=seed)
    with torch.no_grad():
        out = projection(state)
        expected = row_by_row(projection, state, heads, blocks)
    close(out["router_logits"], expected["router_logits"])
    close(out["embedding"], expected["embedding"])
    assert torch.equal(out["routed"], out["router_logits"].argmax(dim=1))
    assert out["embedding"].shape == (rows, OUT)
    assert out["router_logits"].dtype == torch.float32


@pytest.mark.parametrize("choice", ["hard", "soft"])
def test_a_row_depends_on_its_own_tokens_alone(make: Make, texts: Texts, choice: str) -> None:
    projection = make("clustered", count=3, choice=choice, router={"blocks": 2, "heads": 2})
    state = texts(9)
    noise = torch.randn(9, 4, EMBEDDING)
    padded = {
        "pooled": state["pooled"],
        "token_embeddings": torch.cat([state["token_embeddings"], noise], dim=1),
        "mask": torch.cat([state["mask"], torch.zeros(9, 4, dtype=torch.bool)], dim=1),
    }
    padded["token_embeddings"] = torch.where(
        padded["mask"][..., None], padded["token_embeddings"], torch.randn(())
    )
    order = torch.randperm(9)
    with torch.no_grad():
        plain, longer = projection(state), projection(padded)
        shuffled = projection({k: v[order] for k, v in state.items()})
    for name in ("embedding", "router_logits"):
        close(longer[name], plain[name])
        close(shuffled[name], plain[name][order])


def test_one_cluster_takes_all_and_the_others_get_nothing(make: Make, texts: Texts) -> None:
    projection, state = make("clustered", count=20, rivals=0), texts(4)
    nn.init.zeros_(projection.router.output.weight)
    projection.router.output.bias.data[13] = 9.0
    out = projection(state)
    assert out["routed"].tolist() == [13] * 4
    out["embedding"].sum().backward()
    touched = {
        k for k, one in enumerate(projection.projections) if one.linear1.weight.grad is not None
    }
    assert touched == {13}


def test_an_empty_batch(make: Make, texts: Texts) -> None:
    state = {name: tensor[:0] for name, tensor in texts(2).items()}
    assert make("clustered", count=3)(state)["embedding"].shape == (0, OUT)


def test_given_clusters_are_used(make: Make, texts: Texts) -> None:
    state = texts(6)
    cluster = torch.tensor([2, 0, -1, 2, 1, -1])
    for choice in ("hard", "soft"):
        projection = make("clustered", count=3, choice=choice).train()
        for one in projection.projections:
            one.dropout.p = 0.0
        out = projection({**state, "cluster": cluster})
        free = out["router_logits"].argmax(dim=1)
        used = torch.where(cluster >= 0, cluster, free)
        assert torch.equal(out["routed"], used)
        assert torch.equal(out["cluster"], cluster)
        tensors = projection.state_dict()
        rows = zip(state["pooled"], used.tolist(), strict=True)
        expected = [residual(tensors, x, f"projections.{k}.") for x, k in rows]
        close(out["embedding"], torch.stack(expected))
        out["embedding"].square().sum().backward()
        assert all(p.grad is None for p in projection.router.parameters())


def test_a_cluster_too_many(make: Make, texts: Texts) -> None:
    with pytest.raises(PluginError, match="cluster 3 is given, and the projection has 3"):
        make("clustered", count=3)({**texts(2), "cluster": torch.tensor([0, 3])})


class Echo(Projection):
    """A third party's: reads more than the features, and gives more than the embedding."""

    reads = frozenset({"mask"})

    def forward(self, state: State) -> State:
        assert set(state) >= {"pooled", "mask"}
        length = state["mask"].sum(dim=1, keepdim=True).float()
        return {**state, "embedding": length.expand(-1, self.out_width), "more": length}


class EchoPlugin:
    kind, name = "projection", "echo"

    def load(self) -> type[Echo]:
        return Echo

    def load_settings(self) -> type[ProjectionSettings]:
        return ProjectionSettings


@pytest.mark.parametrize("choice", ["hard", "soft"])
def test_of_any_kind(make_use: Any, texts: Texts, choice: str) -> None:
    of = PluginRef(EchoPlugin(), ProjectionSettings())
    use = make_use("projection", "clustered", of=of, choice=choice, count=4)
    assert use.settings.plan(IN, OUT, EMBEDDING) is None  # so the meta device gives the size
    projection = use.create(IN, OUT, embedding_width=EMBEDDING)
    state = texts(7)
    out = projection(state)
    close(out["embedding"][:, 0], state["mask"].sum(dim=1).float())
    assert "more" not in out


@settings(max_examples=10, deadline=None)
@given(
    count=st.integers(2, 12), blocks=st.integers(1, 3), width=st.sampled_from([6, 200, 768]),
    of=st.sampled_from(["linear", "residual"]),
)  # fmt: skip
def test_plans_are_exact(make_use: Any, count: int, blocks: int, width: int, of: str) -> None:
    use = make_use("projection", "clustered", count=count, of=of, router={"blocks": blocks})
    with torch.device("meta"):
        built = use.create(IN, OUT, embedding_width=width)
    assert use.settings.plan(IN, OUT, width) == plan_of_module(built)


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (200, 2), (48, 1), (64, 1), (1024, 16)])
def test_heads_by_default(make_use: Any, width: int, heads: int) -> None:
    router = make_use("projection", "clustered").settings.router
    assert router.heads_for(width) == heads


def test_refusals(make_use: Any) -> None:
    with pytest.raises(ValueError, match="another kind of projection than `clustered`"):
        make_use("projection", "clustered", of={"use": "clustered"})
    use = make_use("projection", "clustered", router={"heads": 5})
    for ask in (use.settings.plan, lambda a, b, e: use.create(a, b, embedding_width=e)):
        with pytest.raises(ConfigError, match=r"5 heads.*16 wide"):
            ask(IN, OUT, EMBEDDING)
        with pytest.raises(PluginError, match="only the text modality"):
            ask(IN, OUT, None)
    identity = make_use("projection", "clustered", of="identity")
    with pytest.raises(ConfigError, match="keeps the width"):
        identity.settings.plan(IN, OUT, EMBEDDING)
