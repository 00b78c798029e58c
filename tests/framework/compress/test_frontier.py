"""The frontier of bytes and loss: equal to trying every combination."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.compress.frontier import frontier

Items = list[list[tuple[int, float]]]


def items() -> st.SearchStrategy[Items]:
    choice = st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.125, 0.5, 1.0, 1.5, 3.0, 8.0]))
    return st.lists(st.lists(choice, min_size=1, max_size=4), min_size=1, max_size=6)


def split(found: Items) -> tuple[list[list[int]], list[list[float]]]:
    return [[b for b, _ in own] for own in found], [[v for _, v in own] for own in found]


def brute_force(found: Items, limit: int) -> float | None:
    """The smallest loss of all combinations under a limit."""
    combinations = itertools.product(*found)
    fitting = [sum(v for _, v in c) for c in combinations if sum(b for b, _ in c) <= limit]
    return min(fitting, default=None)


@settings(max_examples=300, deadline=None)
@given(found=items(), limit=st.integers(0, 380))
def test_six_tensors_are_as_if_every_combination_was_tried(found: Items, limit: int) -> None:
    front = frontier(*split(found))
    assert front.exact
    best = front.best(limit)
    right = brute_force(found, limit)
    if right is None:
        assert best is None
        return
    assert best is not None
    assert best.loss == right  # sums of eighths are exact
    assert best.bytes <= limit
    chosen = [own[i] for own, i in zip(found, best.choices, strict=True)]
    assert sum(b for b, _ in chosen) == best.bytes
    assert sum(v for _, v in chosen) == best.loss


@settings(max_examples=100, deadline=None)
@given(found=items())
def test_a_larger_limit_never_gives_a_larger_loss(found: Items) -> None:
    front = frontier(*split(found))
    losses = [best.loss for limit in range(400) if (best := front.best(limit)) is not None]
    assert losses == sorted(losses, reverse=True)
    assert [p.bytes for p in front.points] == sorted({p.bytes for p in front.points})


@settings(max_examples=50, deadline=None)
@given(found=items(), states=st.integers(2, 12))
def test_merged_sums_are_still_combinations_and_hold_the_limit(found: Items, states: int) -> None:
    exact, rough = frontier(*split(found)), frontier(*split(found), states=states)
    for point in rough.points:
        chosen = [own[i] for own, i in zip(found, point.choices, strict=True)]
        assert sum(b for b, _ in chosen) == point.bytes
        best = exact.best(point.bytes)
        assert best is not None
        assert best.loss <= point.loss
    # The smallest combination is never merged away.
    assert rough.points[0].bytes == exact.points[0].bytes


def test_a_hundred_tensors() -> None:
    """As many as a large model has, with the losses of bits: near the continuous optimum."""
    sizes = [1000 * (1 + i % 7) for i in range(100)]
    bits = (2, 4, 8, 16)
    front = frontier(
        [[size * b for b in bits] for size in sizes],
        [[size * (1 + i % 5) * 4.0**-b for b in bits] for i, size in enumerate(sizes)],
    )
    best = front.best(sum(sizes) * 6)
    assert best is not None
    assert best.bytes > sum(sizes) * 5.99
    uniform = sum(size * (1 + i % 5) * 4.0**-4 for i, size in enumerate(sizes))
    assert best.loss < 0.4 * uniform


def test_no_tensor() -> None:
    assert frontier([], []).points[0].bytes == 0


@pytest.mark.parametrize("limit", [0, 2])
def test_nothing_fits(limit: int) -> None:
    assert frontier([[3, 5]], [[1.0, 0.0]]).best(limit) is None
