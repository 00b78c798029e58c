"""Groups of rows that run through a text tower at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.contracts import Segment, State, TextEncoder, segments_of
from engine.contracts.tower_settings import TextEncoderSettings
from engine.prepare.tables import TokenTable
from engine.train.device import seed_step
from engine.train.modalities import TextModality, group_by_length


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


@pytest.mark.parametrize(("costs", "groups"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("chunk", [None, 3])
def test_texts_run_together_where_padding_costs_nothing(
    costs: bool, groups: int, chunk: int | None
) -> None:
    """One short and one long sequence, 40 times each: a bag of tokens needs no second group."""
    lengths = np.array([2, 400] * 40)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    table = TokenTable(np.arange(starts[-1]) % 50, starts, 0)
    tower = Tokens(TextEncoderSettings.model_construct(max_tokens=400))
    tower.padding_costs = costs
    texts = TextModality(tower, table, None, torch.device("cpu"), chunk, whole=False)
    found = texts.groups(np.arange(80))
    assert len(found) == (groups if chunk is None else 28 if costs else 27)
    for group in found:
        assert group.state["mask"].sum(dim=1).tolist() == lengths[group.rows.numpy()].tolist()
    assert sorted(torch.cat([group.rows for group in found]).tolist()) == list(range(80))


class Tokens(TextEncoder):
    """A table, and a matrix, so that a group costs as much as 49 tokens."""

    def __init__(self, settings: TextEncoderSettings) -> None:
        super().__init__(settings)
        self.table, self.matrix = nn.Embedding(50, 4), nn.Linear(1000, 1000, bias=False)

    def segments(self) -> list[Segment]:
        return segments_of([self.table], [self.matrix], [])

    def embed(self, ids: Tensor) -> Tensor:
        return self.table(ids)  # type: ignore[no-any-return]

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        raise NotImplementedError


def test_a_steps_stream_is_pytorchs() -> None:
    """The same numbers as torch.manual_seed gives; nothing is left behind for other devices."""
    torch.manual_seed(7)
    right = torch.rand(5)
    waiting = len(torch.cuda._queued_calls)
    seed_step(7, torch.device("cpu"))
    assert torch.equal(torch.rand(5), right)
    assert len(torch.cuda._queued_calls) == waiting
