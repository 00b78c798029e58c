"""What the contract asks of every text encoder (`engine.contracts.tower`), held for ours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.contracts import PluginRef, State, TextEncoder, last_place
from engine.core.registry import default_registry
from engine.core.size import plan_of_module, tower_plan

MakeUse = Callable[..., PluginRef]
BatchOf = Callable[..., State]
Tower = tuple[str, dict[str, Any]]

VOCABULARY, LONGEST = 60, 9
SMALL = {"vocab_size": VOCABULARY, "max_tokens": LONGEST, "width": 24, "layers": 3}
HEADS = {**SMALL, "heads": 4}
POSITIONS = {**HEADS, "n_positions": 12, "mlp_ratio": 2.5}
CLIP = {**HEADS, "embed_width": 10, "tokenizer": {"use": "trained"}}
BPE = [
    {"attention": attention, "pooling": pooling}
    for attention, pooling in itertools.product(("causal", "full"), ("end", "mean"))
]
TOWERS: list[Tower] = [
    ("gpt3small", POSITIONS),
    ("gpt3small", {**POSITIONS, "layers": 1}),
    ("rubert", {**POSITIONS, "pooling": "first"}),
    ("rubert", {**POSITIONS, "pooling": "first", "layers": 1}),
    ("rubert", {**POSITIONS, "pooling": "mean"}),
    *(("bpe_transformer", {**HEADS, **choice}) for choice in BPE),
    ("bag_of_tokens", SMALL),
    (
        "bag_of_ngrams",
        {
            "vocab_size": VOCABULARY,
            "max_tokens": LONGEST,
            "width": 24,
            "hidden_width": 20,
            "layers": 2,
            "out_width": 12,
        },
    ),
    ("openai_clip", CLIP),
    ("ruclip", CLIP),
    (
        "static",
        {
            "vocab_size": VOCABULARY,
            "max_tokens": LONGEST,
            "width": 24,
            "tokenizer": {"use": "trained"},
        },
    ),
    ("bert", {**POSITIONS, "pooling": "mean"}),
    ("xlm_roberta", {**POSITIONS, "pooling": "mean"}),
    ("distilbert", {**POSITIONS, "pooling": "first"}),
    ("nllb", {**HEADS, "mlp_ratio": 2.5}),
    ("nllb", {**HEADS, "pooling": "mean"}),
    ("siglip", {**CLIP, "pad_id": 0}),
    ("mobileclip", {**CLIP, "arch": None, "pooling": "end", "project": "matrix"}),
]

calm = settings(deadline=None, max_examples=20)
lengths = st.lists(st.integers(1, LONGEST), min_size=1, max_size=5)


def _name(tower: Tower) -> str:
    name, numbers = tower
    chosen = [str(numbers[key]) for key in ("attention", "pooling", "layers") if key in numbers]
    return "-".join([name, *chosen])


@pytest.fixture(scope="module", params=TOWERS, ids=_name)
def use(request: pytest.FixtureRequest, make_use: MakeUse) -> PluginRef:
    name, numbers = request.param
    return make_use("text_encoder", name, **numbers)


@pytest.fixture(scope="module")
def tower(use: PluginRef, wild: Callable[..., Any]) -> TextEncoder:
    """With large random weights, in double precision, so that small faults show."""
    encoder: TextEncoder = wild(use.create()).double()
    return encoder


def features(tower: TextEncoder, state: State) -> Tensor:
    with torch.no_grad():
        return tower(state)["pooled"]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_every_text_encoder_is_here() -> None:
    built_in = {
        found.plugin.name
        for found in default_registry().all("text_encoder")
        if found.plugin.target.startswith("engine_plugins.")  # others may be installed beside
    }
    assert built_in == {name for name, _ in TOWERS}


def test_widths(tower: TextEncoder, batch_of: BatchOf) -> None:
    state = batch_of([4, 2, 9], VOCABULARY)
    assert features(tower, state).shape == (3, tower.width)
    embedded = tower.embed(state["ids"])
    assert embedded.shape == (3, 9, tower.embedding_width)
    same = tower.embed(state["ids"].flip(1))
    assert torch.equal(same.flip(1), embedded)  # a token's alone, whatever its place


def test_the_plan_is_what_the_meta_device_builds(use: PluginRef) -> None:
    assert tower_plan(use) == tower_plan(use, meta=True)
    assert use.settings.plan() is not None


def test_every_parameter_is_in_exactly_one_segment(tower: TextEncoder) -> None:
    segments = tower.segments()
    found = [id(p) for segment in segments for p in segment.parameters()]
    assert len(found) == len(set(found))
    assert set(found) == {id(p) for p in tower.parameters()}
    blocks = [f"block {i}" for i in range(len(segments) - 2)]
    assert [segment.name for segment in segments] == ["stem", *blocks, "head"]
    assert all(segment.parameters() for segment in segments[:-1])


def test_nothing_is_kept_that_is_neither_parameter_nor_stored_buffer(tower: TextEncoder) -> None:
    kept = {name for name, _ in [*tower.named_parameters(), *tower.named_buffers()]}
    assert kept == set(tower.state_dict())


@calm
@given(lengths=lengths, seed=st.integers(0, 99), data=st.data())
def test_a_tower_may_be_cut_anywhere(
    tower: TextEncoder, batch_of: BatchOf, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    state, end = batch_of(lengths, VOCABULARY, seed), len(tower.segments())
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=3)))
    cut = state
    with torch.no_grad():
        for start, stop in itertools.pairwise([0, *cuts, end]):
            cut = tower.run(cut, start, stop)
    close(cut["pooled"], features(tower, state))


@calm
@given(lengths=lengths, extra=st.integers(1, LONGEST), seed=st.integers(0, 99))
def test_padding_changes_nothing(
    tower: TextEncoder, batch_of: BatchOf, lengths: list[int], extra: int, seed: int
) -> None:
    state = batch_of(lengths, VOCABULARY, seed)
    rows, length = state["ids"].shape
    extra = min(extra, LONGEST - length)
    noise = torch.randint(VOCABULARY, (rows, length + extra))  # any id may stand where nothing is
    mask = torch.nn.functional.pad(state["mask"], (0, extra))
    padded = {"ids": torch.where(mask, torch.nn.functional.pad(state["ids"], (0, extra)), noise)}
    close(features(tower, {**padded, "mask": mask}), features(tower, state))


@calm
@given(lengths=lengths, seed=st.integers(0, 99))
def test_a_row_is_itself_alone_or_in_company(
    tower: TextEncoder, batch_of: BatchOf, lengths: list[int], seed: int
) -> None:
    state = batch_of(lengths, VOCABULARY, seed)
    together = features(tower, state)
    for i, length in enumerate(lengths):
        alone = {name: tensor[i : i + 1, :length] for name, tensor in state.items()}
        close(features(tower, alone)[0], together[i])


@calm
@given(lengths=lengths, seed=st.integers(0, 99), data=st.data())
def test_any_point_can_be_stored_a_row_at_a_time(
    tower: TextEncoder, batch_of: BatchOf, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    state, end = batch_of(lengths, VOCABULARY, seed), len(tower.segments())
    point = data.draw(st.integers(0, end))
    with torch.no_grad():
        stored = tower.run(state, 0, point)
        assert all(tensor.shape[0] == len(lengths) for tensor in stored.values())
        order = data.draw(st.permutations(range(len(lengths))))
        taken = {name: tensor[list(order)] for name, tensor in stored.items()}
        again = tower.run(taken, point, end)["pooled"]
    close(again, features(tower, state)[list(order)])


def test_no_state_is_changed_in_place(tower: TextEncoder, batch_of: BatchOf) -> None:
    end = len(tower.segments())
    points = [batch_of([3, 9, 1], VOCABULARY)]
    copies: list[State] = []
    with torch.no_grad():
        for i in range(end):
            copies.append({name: tensor.clone() for name, tensor in points[i].items()})
            points.append(tower.run(points[i], i, i + 1))
            tower.run(points[i], i, end)
    for point, copy in zip(points, copies, strict=False):
        assert point.keys() == copy.keys()
        assert all(torch.equal(point[name], copy[name]) for name in copy)


def test_the_features_follow_the_text(tower: TextEncoder, batch_of: BatchOf) -> None:
    """Every token of a text has its part in the features."""
    state = batch_of([LONGEST], VOCABULARY)
    before = features(tower, state)
    for place in range(LONGEST):
        ids = state["ids"].clone()
        ids[0, place] = (ids[0, place] + 1) % VOCABULARY
        moved = (features(tower, {**state, "ids": ids}) - before).abs().max()
        assert moved > 1e-4, place


def test_every_parameter_learns(tower: TextEncoder, batch_of: BatchOf) -> None:
    tower.zero_grad()
    tower(batch_of([4, LONGEST, 1], VOCABULARY))["pooled"].square().sum().backward()
    assert [name for name, p in tower.named_parameters() if p.grad is None] == []
    tower.zero_grad()


def test_fresh_weights_give_features_of_a_sound_size(use: PluginRef, batch_of: BatchOf) -> None:
    torch.manual_seed(0)
    tower = use.create().eval()
    state = batch_of([LONGEST] * 8, VOCABULARY)
    found = features(tower, state)
    assert found.isfinite().all()
    assert 1e-3 < found.std(dim=0).mean() < 10  # texts are distinguished
    assert last_place(state["mask"]).tolist() == [LONGEST - 1] * 8


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(
        ["gpt3small", "rubert", "distilbert", "nllb", "bpe_transformer", "bag_of_tokens"]
    ),
    heads=st.integers(1, 4),
    numbers=st.tuples(*[st.integers(1, 7)] * 3),
    ratio=st.floats(0.01, 9),
    more=st.integers(0, 5),
)
def test_plans_of_any_numbers(
    make_use: MakeUse, name: str, heads: int, numbers: Sequence[int], ratio: float, more: int
) -> None:
    vocab_size, head_width, layers = numbers
    chosen: dict[str, Any] = {
        "vocab_size": vocab_size, "layers": layers, "max_tokens": 2 + more // 2,
        "width": heads * head_width,
    }  # fmt: skip
    if name != "bag_of_tokens":
        chosen |= {"heads": heads, "mlp_ratio": ratio}
    if name in ("gpt3small", "rubert", "distilbert"):
        chosen["n_positions"] = 2 + more
    use = make_use("text_encoder", name, **chosen)
    plan, tower = tower_plan(use), use.create()
    assert plan.tensors == plan_of_module(tower)
    assert (plan.width, plan.embedding_width) == (tower.width, tower.embedding_width)
