"""The clustered projection with K = 10 beside one projection, alone and within the text tower.

**Alone**: 256 texts, 768 -> 1024. A step is forwards and backwards, down to the gradients of the
features and of every weight, in training (dropout included), float32, on one thread by default.
Each text has its own cluster at random, and 3 to 15 tokens.

- `cost`: the time of the ten projections with the choice given over that of one `residual`
  projection: the projections' own work without the router's. The target is at most 1.3. It
  depends on the processor's memory: ten times the weights are read twice and their gradients
  written once, for the same number of multiplications.
- `cost_same_kernel`: against one projection through the kernel that the ten use
  (`engine_plugins.projections.few_rows`).
- `cost_with_router`: clusters given, and the router trained by its own loss. The router is
  a transformer block over all tokens, four times a projection's weights: it is most of the time.
- `cost_with_light_router`: the same with `clustered_light`.
- `cost_straight_through`: hard choice by the router, its gradient by one drawn rival.
- `cost_soft`: all ten, mixed.

**The text tower** of `configs/sber.yaml` at full size (ruGPT-3 small, 12 blocks, random weights),
batch 256, 10 tokens, clusters given, the router trained by its own loss; forwards and backwards to
every weight, in CPU seconds:

- `side_ratio`: K projections and the router's block over the text tower with one projection; at
  most 1.12.
- `side_ratio_light`: the same with `clustered_light`; at most 1.03.

Medians of pairs taken in turn; `--only alone` or `--only side` takes one part.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import ROOT, arguments, finish, in_turn, median_ratio
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import State
from engine.core.config import load_config
from engine.core.registry import default_registry
from engine_plugins.projections.clustered import Clustered
from engine_plugins.projections.few_rows import FewRows

ROWS, TOKENS, IN, OUT, EMBEDDING, CLUSTERS = 256, 15, 768, 1024, 768, 10
VOCABULARY = 50_264  # ruGPT-3 small's rows
SIDE_TOKENS = 10
TARGETS = {"cost": 1.3, "side_ratio": 1.12, "side_ratio_light": 1.03}

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
    light: Clustered = make("clustered_light", count=CLUSTERS)

    def loss(embedding: Tensor) -> Tensor:
        return (functional.normalize(embedding, dim=-1) * towards).sum()

    def same_kernel() -> Tensor:
        with FewRows(most_rows=ROWS):
            return loss(one(state)["embedding"])

    def routed(projection: Clustered) -> Tensor:
        out = projection({**state, "cluster": cluster})
        return loss(out["embedding"]) + functional.cross_entropy(out["router_logits"], cluster)

    return {
        "one": (one, lambda: loss(one(state)["embedding"])),
        "given": (many.projections, lambda: loss(many.by_cluster(state, cluster))),
        "one, same kernel": (one, same_kernel),
        "with router": (many, lambda: routed(many)),
        "with light router": (light, lambda: routed(light)),
        "straight through": (many, lambda: loss(many(state)["embedding"])),
        "soft": (soft, lambda: loss(soft(state)["embedding"])),
    }, state


NAMES = {
    "one": "one residual projection",
    "given": "ten, choice given",
    "one, same kernel": "one, through the kernel of the ten",
    "with router": "ten, choice given; router by its own loss",
    "with light router": "the same, light router",
    "straight through": "ten and router, straight through",
    "soft": "ten and router, soft",
}


def alone(rounds: int) -> tuple[Table, dict[str, float]]:
    """The projections without a text encoder."""
    todo, state = jobs()
    inputs = {name: state[name] for name in ("pooled", "token_embeddings")}
    found = in_turn(
        rounds,
        *(lambda j=job: step(*j, inputs) for job in todo.values()),  # type: ignore[misc]
    )
    times = dict(zip(todo, found, strict=True))
    cost = {name: median_ratio(own, times["one"]) for name, own in times.items()}
    table = Table(title=f"{ROWS} texts, {IN} -> {OUT}, K = {CLUSTERS}")
    for column in ("a step, forwards and backwards", "ms (median)", "cost (one = 1)"):
        table.add_column(column, justify="left" if column.startswith("a") else "right")
    for name, own in times.items():
        table.add_row(NAMES[name], f"{statistics.median(own) * 1e3:.1f}", f"{cost[name]:.2f}")
    return table, {
        "cost": cost["given"],
        "cost_same_kernel": median_ratio(times["given"], times["one, same kernel"]),
        "cost_with_router": cost["with router"],
        "cost_with_light_router": cost["with light router"],
        "cost_straight_through": cost["straight through"],
        "cost_soft": cost["soft"],
    }


def side(rounds: int) -> tuple[Table, dict[str, float]]:
    """The whole text tower of ``sber``; the three variants share one text encoder."""
    text = load_config(ROOT / "configs" / "sber.yaml").model.text
    encoder = text.create().train()
    ids = torch.randint(VOCABULARY, (ROWS, SIDE_TOKENS))
    mask = torch.ones(ROWS, SIDE_TOKENS, dtype=torch.bool)
    cluster, towards = torch.randint(CLUSTERS, (ROWS,)), torch.randn(ROWS, OUT)

    def seconds(projection: Any) -> float:
        both = nn.ModuleList([encoder, projection])
        both.zero_grad()
        start = time.process_time()
        read = encoder({"ids": ids, "mask": mask}, projection.reads)
        state = {"ids": ids, "mask": mask, "cluster": cluster, **read}
        if "token_embeddings" in projection.reads and "token_embeddings" not in state:
            state["token_embeddings"] = encoder.embed(ids)
        out = projection(state)
        loss = (functional.normalize(out["embedding"], dim=-1) * towards).sum()
        if "router_logits" in out:
            loss = loss + functional.cross_entropy(out["router_logits"], cluster)
        loss.backward()
        return time.process_time() - start

    variants = {
        "one projection": make("residual"),
        "ten, and the router's transformer block": make("clustered", count=CLUSTERS),
        "ten, and the light router": make("clustered_light", count=CLUSTERS),
    }
    found = in_turn(
        rounds,
        *(lambda p=projection: seconds(p) for projection in variants.values()),  # type: ignore[misc]
    )
    ratios = [median_ratio(own, found[0]) for own in found]
    table = Table(title=f"the text tower of sber, {ROWS} texts of {SIDE_TOKENS} tokens")
    for column in ("a step, forwards and backwards", "CPU s (median)", "ratio"):
        table.add_column(column, justify="left" if column.startswith("a") else "right")
    for name, own, ratio in zip(variants, found, ratios, strict=True):
        table.add_row(name, f"{statistics.median(own):.2f}", f"{ratio:.3f}")
    return table, {"side_ratio": ratios[1], "side_ratio_light": ratios[2]}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("alone", "side"), help="one part alone")
    parser.add_argument("--side-rounds", type=int, default=5, help="rounds of the text tower (5)")
    parser.set_defaults(rounds=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    figures: dict[str, float] = {}
    if options.only != "side":
        table, found = alone(options.rounds)
        Console().print(table)
        figures |= found
    if options.only != "alone":
        table, found = side(options.side_rounds)
        Console().print(table)
        figures |= found
    finish(options.json, {**figures, "targets": TARGETS, "threads": options.threads})


if __name__ == "__main__":
    main()
