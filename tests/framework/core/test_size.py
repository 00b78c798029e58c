"""Sizes: what is predicted is what the safetensors library writes, for any names and shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from engine.contracts.storage import DTYPES, StoredArray, StoredTensor
from engine.contracts.values import parse_bytes
from engine.core.size import PartSize, SizeReport, header_bytes
from engine.core.storage_file import write_parts
from engine.errors import LimitError

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
parts_of_files = st.dictionaries(
    names.filter(lambda name: name != "__metadata__"),
    st.builds(StoredTensor, st.sampled_from(list(DTYPES)), shapes),
    min_size=1,
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(parts_of_files)
def test_header_and_tensors_make_the_file(parts: dict[str, StoredTensor]) -> None:
    arrays = {
        name: StoredArray(part.dtype, np.zeros(part.shape, DTYPES[part.dtype].carrier))
        for name, part in parts.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        write_parts(path, arrays)
        written = path.stat().st_size
        with safe_open(path, "pt") as file:
            for name, part in parts.items():
                there = file.get_slice(name)
                assert (there.get_dtype(), tuple(there.get_shape())) == (part.dtype, part.shape)
    assert header_bytes(parts) + sum(part.bytes for part in parts.values()) == written


@pytest.mark.parametrize(
    ("text", "count"),
    [("1 GB", 10**9), ("300MB", 3 * 10**8), ("1GiB", 2**30), ("1.5 kB", 1500), ("7", 7), (12, 12)],
)
def test_units(text: object, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "1 XB", "-1", "1e3", "1 G B", "ein GB"])
def test_bad_units(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_bytes(text)


def test_a_broken_limit_names_the_heaviest_part() -> None:
    parts = (PartSize("vision", "v", 10, 0, 40), PartSize("text", "t", 80, 20, 400))
    SizeReport("m", parts, 60, 500).check()
    with pytest.raises(LimitError, match=r"1 over its limit of 499.*heaviest part is text"):
        SizeReport("m", parts, 60, 499).check()
