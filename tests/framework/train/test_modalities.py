"""Groups of rows that run through a text tower at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.train.modalities import group_by_length


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=40),
    cost=st.integers(0, 60),
    maximum=st.one_of(st.none(), st.integers(1, 9)),
)
def test_groups_hold_every_row_once_and_cost_least(
    lengths: list[int], cost: int, maximum: int | None
) -> None:
    array = np.array(lengths)
    groups = group_by_length(array, cost, maximum)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    if maximum is not None:
        assert all(len(group) <= maximum for group in groups)
        return

    def price(some: list[np.ndarray]) -> int:
        return sum(len(group) * int(array[group].max()) + cost for group in some)

    order = np.argsort(array, kind="stable")
    one = [order]
    each = [order[array[order] == value] for value in np.unique(array)]
    assert price(groups) <= min(price(one), price(each))
