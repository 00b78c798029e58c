"""Storages and files that break their word are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from engine.contracts.plan import TensorPlan
from engine.core.storage import to_manifest
from engine.core.storage_file import encode, write_parts
from engine.core.weights import read_weights
from engine.errors import ArtifactError, PluginError, WeightsError

from .storage_worlds import PLAN, WORLD, numbers, planned

# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "number", "advice"),
    [
        ("float16", 65_520.0, "bfloat16"),
        ("float16", -70_000.0, "bfloat16"),
        ("float16", 3.4e38, "float32"),
        ("bfloat16", 3.4e38, "float32"),
        ("int8_rows", 9e6, "float8"),
        ("int8_rows", -3.4e38, "float32"),
        ("unreadable", 1.0, "int4_groups"),
    ],
)
def test_a_number_that_its_storage_cannot_hold(use: str, number: float, advice: str) -> None:
    plan = {"small": TensorPlan((3, 30)), "large": TensorPlan((2, 30))}
    arrays = {name: np.ones(tensor.shape, np.float32) for name, tensor in plan.items()}
    arrays["large"][1, 1] = number
    stored = planned(plan, rules=[{"match": "large", "use": use}])
    with pytest.raises(WeightsError, match=f"here: large holds .*{use}") as caught:
        encode("here", stored, arrays, WORLD)
    assert f"set storage.default to {advice}," in str(caught.value.hint)


@pytest.mark.parametrize(
    ("use", "words"),
    [("liar", "encoded a as .* and planned"), ("carrier", "int16 cannot carry the dtype U8")],
)
def test_a_storage_that_breaks_its_word(use: str, words: str) -> None:
    plan = {"a": TensorPlan((4, 4))}
    with pytest.raises(PluginError, match=words):
        encode("here", planned(plan, default=use), numbers(plan, 0), WORLD)


def test_a_storage_of_an_unknown_dtype() -> None:
    with pytest.raises(PluginError, match="unknown dtype `I3`"):
        planned({"a": TensorPlan((4, 4))}, default="nodtype")


def written(folder: Path, **values: Any) -> tuple[Path, list[dict[str, Any]]]:
    stored = planned(PLAN, **values)
    path = folder / "x.safetensors"
    write_parts(path, encode("here", stored, numbers(PLAN, 0), WORLD))
    return path, to_manifest(stored)


CONV, SCALE = "vision.conv.weight", "vision.conv.weight.scale"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: {SCALE: None}, r"missing: vision\.conv\.weight\.scale$"),
        (lambda parts: {CONV: None}, r"missing: vision\.conv\.weight$"),
        (
            lambda parts: {SCALE: parts[SCALE][:1]},
            r"shape of .*scale: \(1,\) there, \(3,\) expected",
        ),
        (lambda parts: {CONV: parts[CONV].float()}, r"dtype of .*weight: F32 there, I8 expected"),
    ],
)
def test_a_file_that_does_not_fit_its_manifest(change: Any, words: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path, entries = written(tmp_path, default="int8_rows")
    parts = load_file(path)
    parts |= change(parts)
    save_file({name: tensor for name, tensor in parts.items() if tensor is not None}, path)
    with pytest.raises(ArtifactError, match=f"(?m){words}"):
        read_weights(path, {"storage": entries}, WORLD)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use": "int99_rows"}, "int99_rows"),
        ({"settings": {"colour": 3}}, "int8_rows"),
        ({"tensors": {"vision.conv.weight": [10**15, 3]}}, "shape of vision.conv.weight"),
        ({"tensors": {"vision.conv.weight": [7]}}, "cannot hold the shape of vision.conv.weight"),
    ],
)
def test_a_manifest_that_does_not_fit_its_file(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path, entries = written(tmp_path, default="int8_rows")
    entry = next(one for one in entries if one["use"] == "int8_rows")
    entry.update(change)
    with pytest.raises(ArtifactError, match=words):
        read_weights(path, {"storage": entries}, WORLD)
