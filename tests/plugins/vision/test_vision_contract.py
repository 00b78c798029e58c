"""What the contract asks of every vision tower (`engine.contracts.tower`), held for ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.contracts import PluginRef, State, VisionTower
from engine.core.registry import default_registry
from engine.core.size import plan_of_module, tower_plan

MakeUse = Callable[..., PluginRef]
Tower = tuple[str, dict[str, Any]]

SMALL = {"image_size": 32, "width": 24, "layers": 3, "heads": 4, "mlp_ratio": 2.5}
CLIP = {**SMALL, "patch_size": 8, "embed_width": 10}
TOWERS: list[Tower] = [
    ("openai_clip", CLIP),
    ("openai_clip", {**CLIP, "layers": 1, "image_size": 37, "quick_gelu": False}),
    ("openai_clip", {**CLIP, "project": False}),
    ("ruclip", CLIP),
    ("small_vit", {**SMALL, "convolutions": 3}),
    ("small_vit", {**SMALL, "convolutions": 1, "layers": 1, "image_size": 6}),
    ("resnet50", {"image_size": 40}),
    ("timm", {"arch": "test_vit2", "image_size": 32}),
    ("timm", {"arch": "test_convnext", "image_size": 32}),
    ("timm", {"arch": "test_efficientnet", "image_size": 32}),
    ("timm", {"arch": "test_byobnet", "image_size": 32}),
]
calm = settings(deadline=None, max_examples=10)


def _name(tower: Tower) -> str:
    name, numbers = tower
    return "-".join([name, *(str(numbers[key]) for key in ("arch", "layers") if key in numbers)])


@pytest.fixture(scope="module", params=TOWERS, ids=_name)
def use(request: pytest.FixtureRequest, make_use: MakeUse) -> PluginRef:
    name, numbers = request.param
    return make_use("vision_tower", name, **numbers)


@pytest.fixture(scope="module")
def tower(use: PluginRef, shaken: Callable[..., Any]) -> VisionTower:
    """With random weights, in double precision, so that small faults show."""
    made: VisionTower = shaken(use.create()).double()
    return made


def pixels_of(tower: VisionTower, rows: int, seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    size = tower.preprocess.size
    return {"pixels": torch.randn(rows, 3, size, size, generator=generator, dtype=torch.float64)}


def run(tower: VisionTower, state: State, start: int, stop: int) -> State:
    with torch.no_grad():
        return tower.run(state, start, stop)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_every_vision_tower_is_here() -> None:
    built_in = {
        found.plugin.name
        for found in default_registry().all("vision_tower")
        if found.plugin.target.startswith("engine_plugins.")  # others may be installed beside
    }
    assert built_in == {name for name, _ in TOWERS}


def test_features_are_finite_and_tell_pictures_apart(tower: VisionTower) -> None:
    found = run(tower, pixels_of(tower, 4), 0, len(tower.segments()))["pooled"]
    assert found.shape == (4, tower.width)
    assert found.isfinite().all()
    spread = found.std(dim=0).max() / found.abs().max()
    assert spread > 1e-6


def test_a_tower_may_be_cut_anywhere(tower: VisionTower) -> None:
    count = len(tower.segments())
    state = pixels_of(tower, 3)
    whole = run(tower, state, 0, count)
    step = state
    for cut in range(count + 1):
        first = run(tower, state, 0, cut)
        assert all(len(tensor) == 3 for tensor in first.values())
        assert ("pooled" in first) == (cut == count)
        rest = run(tower, first, cut, count)
        assert set(rest) == set(whole)
        close(rest["pooled"], whole["pooled"])
        if cut:
            step = run(tower, step, cut - 1, cut)
            assert set(step) == set(first)
    close(step["pooled"], whole["pooled"])
    with torch.no_grad():
        close(tower(state)["pooled"], whole["pooled"])


def test_a_state_is_never_changed(tower: VisionTower) -> None:
    count = len(tower.segments())
    for start in range(count):
        given = run(tower, pixels_of(tower, 2), 0, start)
        kept = {name: tensor.clone() for name, tensor in given.items()}
        for stop in {start, start + 1, count}:
            run(tower, given, start, stop)
            assert set(given) == set(kept)
            assert all(torch.equal(given[name], tensor) for name, tensor in kept.items())


@calm
@given(rows=st.integers(1, 4), seed=st.integers(0, 99))
def test_rows_are_independent(tower: VisionTower, rows: int, seed: int) -> None:
    count = len(tower.segments())
    state = pixels_of(tower, rows, seed)
    together = run(tower, state, 0, count)["pooled"]
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    mixed = run(tower, {"pixels": state["pixels"][order]}, 0, count)["pooled"]
    close(mixed, together[order])
    for i in range(rows):
        alone = run(tower, {"pixels": state["pixels"][i : i + 1]}, 0, count)["pooled"]
        close(alone, together[i : i + 1])


def test_entries_that_a_tower_does_not_know_pass_through(tower: VisionTower) -> None:
    labels = torch.tensor([4, 2])
    out = run(tower, {**pixels_of(tower, 2), "labels": labels}, 0, len(tower.segments()))
    assert torch.equal(out["labels"], labels)


def test_segments_hold_every_parameter_once(tower: VisionTower) -> None:
    segments = tower.segments()
    assert [segment.name for segment in segments] == [
        "stem", *(f"block {i}" for i in range(len(segments) - 2)), "head",
    ]  # fmt: skip
    counted = [id(p) for segment in segments for p in segment.parameters()]
    assert sorted(counted) == sorted(id(p) for p in tower.parameters())


def test_freezing_a_segment_leaves_the_others_their_gradients(use: PluginRef) -> None:
    tower: VisionTower = use.create()
    tower.eval()
    state = {name: tensor.float() for name, tensor in pixels_of(tower, 2).items()}
    frozen, *others = tower.segments()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    tower(state)["pooled"].square().mean().backward()
    assert all(p.grad is None for p in frozen.parameters())
    found = [p.grad is not None for segment in others for p in segment.parameters()]
    assert found
    assert all(found)


def test_plan_is_the_module(use: PluginRef) -> None:
    built = use.create()
    meta = tower_plan(use, meta=True)
    assert meta.tensors == plan_of_module(built)
    assert (meta.width, meta.embedding_width) == (built.width, None)
    assert tower_plan(use) == meta
    own_plan = use.settings.plan()
    assert own_plan is None or own_plan == meta
    assert (own_plan is None) == (use.name == "timm")


def test_builds_on_the_meta_device(use: PluginRef, tower: VisionTower) -> None:
    with torch.device("meta"):
        empty = use.create()
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert empty.preprocess == tower.preprocess


def test_a_seed_gives_the_weights(use: PluginRef) -> None:
    def make(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        weights: dict[str, Tensor] = use.create().state_dict()
        return weights

    first, again, other = make(3), make(3), make(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_tensor_is_initialised(use: PluginRef) -> None:
    """Memory that nobody wrote would differ, or hold no numbers."""
    torch.manual_seed(0)
    for name, tensor in use.create().state_dict().items():
        assert tensor.float().isfinite().all(), name
        assert tensor.abs().max() < 1000, name


def test_weights_go_out_and_in(use: PluginRef, tower: VisionTower) -> None:
    other: VisionTower = use.create().eval()
    other.load_weights(tower.state_dict(), "the other")
    state = pixels_of(tower, 2)
    features = run(tower, state, 0, len(tower.segments()))["pooled"].float()
    with torch.no_grad():
        again = other({"pixels": state["pixels"].float()})["pooled"]
    torch.testing.assert_close(again, features, rtol=1e-3, atol=1e-4)


def test_the_resolved_settings_build_the_same(use: PluginRef, make_use: MakeUse) -> None:
    saved = use.to_config()
    assert make_use("vision_tower", saved.pop("use"), **saved) == use
