"""Sizes: what is predicted is what the safetensors library writes, for any names and shapes."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.contracts.plan import Plan, TensorPlan
from engine.contracts.values import parse_bytes
from engine.core.size import PartSize, SizeReport, header_bytes
from engine.errors import LimitError

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
plans = st.dictionaries(
    names.filter(lambda name: name != "__metadata__"),
    st.builds(TensorPlan, shapes, st.sampled_from(["float", "float", "float", "int64", "bool"])),
    min_size=1,
    max_size=30,
)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
OTHER = {"int64": torch.int64, "bool": torch.bool}


@settings(max_examples=200, deadline=None)
@given(plans, st.sampled_from(list(DTYPES)))
def test_header_and_tensors_make_the_file(plan: Plan, dtype: str) -> None:
    tensors = {
        name: torch.zeros(t.shape, dtype=OTHER.get(t.dtype, DTYPES[dtype]))
        for name, t in plan.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        save_file(tensors, path)
        written = path.stat().st_size
    data = sum(math.prod(t.shape) * t.element_size() for t in tensors.values())
    assert header_bytes(plan, dtype) + data == written


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
    with pytest.raises(LimitError, match=r"1 over its limit of 499.*\n.*text"):
        SizeReport("m", parts, 60, 499).check()
