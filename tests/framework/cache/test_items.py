"""Rows of a state as bytes, and back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.items import entries_of, pack, unpack


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    width=st.integers(1, 4),
    half=st.booleans(),
)
@settings(deadline=None)
def test_rows_packed_come_back_without_their_padding(
    lengths: list[int], width: int, half: bool
) -> None:
    longest = max(lengths)
    hidden = torch.randn(len(lengths), longest + 1, width)
    state = {"hidden": hidden, "number": torch.arange(len(lengths))}
    short = {"hidden": hidden[:1, :1], "number": torch.zeros(1, dtype=torch.int64)}
    long = {"hidden": torch.randn(1, 2, width), "number": torch.zeros(1, dtype=torch.int64)}
    entries = entries_of(short, long, "float16" if half else "float32")
    back = unpack(pack(state, entries, lengths), entries, lengths)
    assert back["hidden"].shape == (len(lengths), longest, width)
    for i, length in enumerate(lengths):
        expected = hidden[i, :length].half().float() if half else hidden[i, :length]
        assert torch.equal(back["hidden"][i, :length], expected)
        assert not back["hidden"][i, length:].any()
    assert torch.equal(back["number"], state["number"])
