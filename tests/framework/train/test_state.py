"""The state of a run: what goes into a checkpoint comes out the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import TrainingError
from engine.train.checkpoint import Checkpoint
from engine.train.state import Position, StageState, TrainingState, pack, unpack

KEYS = st.text(max_size=4) | st.sampled_from(["$tensor", "$tuple", "$mapping", "a.b", "a"])
TENSORS = st.tuples(
    st.lists(st.integers(0, 100), max_size=3),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.uint8, torch.bfloat16]),
).map(lambda given: torch.tensor(given[0], dtype=given[1]))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
VALUES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.equal(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_is_packed_is_unpacked_the_same(value: dict[str, Any]) -> None:
    plain, tensors = pack(value)
    assert equal(unpack(json.loads(json.dumps(plain)), tensors), value)


def test_paths_that_look_alike_are_two_tensors() -> None:
    value = {"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.zeros(1)}}
    plain, tensors = pack(value)
    assert len(tensors) == 2
    assert equal(unpack(plain, tensors), value)


class Odd:
    """Nothing that a checkpoint can hold."""


@pytest.mark.parametrize(
    "value", [Odd(), {1}, b"bytes", 1j, {"deep": [Odd()]}, {(1, 2): 3}, torch.optim.SGD],
    ids=["object", "set", "bytes", "complex", "deep", "key", "class"],
)  # fmt: skip
def test_what_no_checkpoint_can_hold_is_named_with_its_place(value: Any) -> None:
    with pytest.raises(TrainingError, match=r"callbacks\.0.*cannot hold"):
        pack({"callbacks": [{"mine": value}]})


def test_endless_nesting_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(TrainingError, match="nested too deeply"):
        pack(value)


def test_a_whole_state_comes_back() -> None:
    state = TrainingState(
        at=Position(1, 2, 3, 4, 5), best=12.5, best_step=3, finished_stages=[{"name": "a"}],
        trained={"b", "a"}, losses={"sigmoid": {"bias": torch.ones(1)}},
        weights={"w": torch.arange(3.0)}, callbacks=[{"steps": 3, "average": {"w": torch.ones(2)}}],
        stage=StageState({"groups": [{"betas": (0.9, 0.98)}]}, {"sum": 0.1}, {}, 0, 4, 0, True),
        config={"seed": 0}, data={"rows": 2}, threads=1,
    )  # fmt: skip
    plain, tensors = state.to_checkpoint()
    found = TrainingState.from_checkpoint(Checkpoint(5, json.loads(json.dumps(plain)), tensors))
    assert found.at == state.at
    assert found.stage == state.stage
    assert found.trained == state.trained
    assert equal(vars(found)["callbacks"], state.callbacks)
    assert found.best == 12.5
