"""The clustered projection with K = 10 beside one projection: 256 texts, 768 -> 1024, both ways.

A step is forwards and backwards, down to the gradients of the features and of every weight, in
training (dropout included), float32, on one thread by default. Each text has its own
cluster at random, and 3 to 15 tokens.

- `inverse_cost`: the time of one `residual` projection over that of the ten with the choice given,
  so the projections' own work without the router's. The target is at least 1/1.3 = 0.77.
- `inverse_cost_same_kernel`: against one projection through the kernel that the ten use
  (`engine_plugins.projections.few_rows`), which on AMD processors is the faster one for many rows
  as well.
- `inverse_cost_with_router`: clusters given, and the router trained by its own loss. The router is
  a transformer block over all tokens, four times a projection's weights: it is most of the time.
- `inverse_cost_straight_through`: hard choice by the router, its gradient by one drawn rival.
- `inverse_cost_soft`: all ten, mixed.

Medians of pairs taken in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import arguments, finish, in_turn, median_ratio
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import State
from engine.core.registry import default_registry
from engine_plugins.projections.clustered import Clustered
from engine_plugins.projections.few_rows import FewRows

ROWS, TOKENS, IN, OUT, EMBEDDING, CLUSTERS = 256, 15, 768, 1024, 768, 10
TARGET = 1 / 1.3

Job = tuple[nn.Module, Callable[[], Tensor]]


def make(name: str, **settings: Any) -> Any:
    """A projection in training mode."""
    registry = default_registry()
    plugin = registry.get("projection", name)
    valid = plugin.load_settings().model_validate(settings, context={"registry": registry})
    return plugin.load()(valid, IN, OUT, embedding_width=EMBEDDING).train()


def a_state() -> State:
    """256 texts as a text encoder hands them on."""
    lengths = torch.randint(3, TOKENS + 1, (ROWS, 1))
    return {
        "pooled": torch.randn(ROWS, IN, requires_grad=True),
        "token_embeddings": torch.randn(ROWS, TOKENS, EMBEDDING, requires_grad=True),
        "mask": torch.arange(TOKENS) < lengths,
    }


def step(module: nn.Module, loss: Callable[[], Tensor], inputs: State) -> float:
    """Seconds of one step, without that of dropping the gradients of the one before."""
    module.zero_grad()
    for tensor in inputs.values():
        tensor.grad = None
    start = time.perf_counter()
    loss().backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - start


def jobs() -> tuple[dict[str, Job], State]:
    """What is timed: a module and its loss."""
    state, towards = a_state(), torch.randn(ROWS, OUT)
    cluster = torch.randint(CLUSTERS, (ROWS,))
    one, soft = make("residual"), make("clustered", count=CLUSTERS, choice="soft")
    many: Clustered = make("clustered", count=CLUSTERS)

    def loss(embedding: Tensor) -> Tensor:
        return (functional.normalize(embedding, dim=-1) * towards).sum()

    def same_kernel() -> Tensor:
        with FewRows(most_rows=ROWS):
            return loss(one(state)["embedding"])

    def with_router() -> Tensor:
        out = many({**state, "cluster": cluster})
        return loss(out["embedding"]) + functional.cross_entropy(out["router_logits"], cluster)

    return {
        "one": (one, lambda: loss(one(state)["embedding"])),
        "given": (many.projections, lambda: loss(many.by_cluster(state, cluster))),
        "one, same kernel": (one, same_kernel),
        "with router": (many, with_router),
        "straight through": (many, lambda: loss(many(state)["embedding"])),
        "soft": (soft, lambda: loss(soft(state)["embedding"])),
    }, state


NAMES = {
    "one": "one residual projection",
    "given": "ten, choice given",
    "one, same kernel": "one, through the kernel of the ten",
    "with router": "ten, choice given; router by its own loss",
    "straight through": "ten and router, straight through",
    "soft": "ten and router, soft",
}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(rounds=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    todo, state = jobs()
    inputs = {name: state[name] for name in ("pooled", "token_embeddings")}
    found = in_turn(
        options.rounds,
        *(lambda j=job: step(*j, inputs) for job in todo.values()),  # type: ignore[misc]
    )
    times = dict(zip(todo, found, strict=True))
    inverse = {name: median_ratio(times["one"], own) for name, own in times.items()}
    table = Table(title=f"{ROWS} texts, {IN} -> {OUT}, K = {CLUSTERS}, {options.threads} threads")
    for column in ("a step, forwards and backwards", "ms (median)", "cost (one = 1)"):
        table.add_column(column, justify="left" if column.startswith("a") else "right")
    for name, own in times.items():
        table.add_row(
            NAMES[name], f"{statistics.median(own) * 1e3:.1f}", f"{1 / inverse[name]:.2f}"
        )
    Console().print(table)
    finish(
        options.json,
        {
            "inverse_cost": inverse["given"],
            "inverse_cost_same_kernel": median_ratio(times["one, same kernel"], times["given"]),
            "inverse_cost_with_router": inverse["with router"],
            "inverse_cost_straight_through": inverse["straight through"],
            "inverse_cost_soft": inverse["soft"],
            "target": TARGET,
        },
    )


if __name__ == "__main__":
    main()
