"""Storage: the file is as long as predicted and comes back, for any tensors, rules and storages."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.contracts.hooks import Plugin
from engine.contracts.plan import Plan, TensorPlan
from engine.contracts.settings import Settings
from engine.core.manifest import Stored
from engine.core.size import header_bytes
from engine.core.storage import StoragePlan, file_parts, to_manifest
from engine.core.storage_file import encode, write_parts
from engine.core.weights import read_weights
from engine.errors import ConfigError, PluginError

from .storage_worlds import OWN, PLAN, WORLD, numbers, planned, section


class NotStorageSettings(Settings):
    """Of another base."""


OWN["foreign"] = Plugin("storage", "foreign", f"{__name__}:Pairs", f"{__name__}:NotStorageSettings")
USES = [None, "float32", "float16", "bfloat16", "int8_rows", "pairs"]


def names(plan: StoragePlan) -> dict[str, str]:
    return {name.removeprefix("text.block."): tensor.name for name, tensor in plan.items()}


# --- which storage a tensor has ----------------------------------------------------------------


def test_without_a_section_every_number_stays_float32() -> None:
    found = planned(PLAN)
    assert {t.name for t in found.values()} == {"float32", "int64"}
    assert {t.ref for t in found.values()} == {None}


def test_first_what_is_kept_then_the_first_rule_then_the_default() -> None:
    found = names(
        planned(
            PLAN, default="int8_rows",
            rules=[{"match": "text.*embedding*", "use": "pairs"},
                   {"match": "text.*", "use": "bfloat16"}],
            keep=["norms", "*.token"], keep_as="float16",
        )
    )  # fmt: skip
    assert found == {
        "text.embedding.weight": "pairs",
        "norm.weight": "float16", "norm.bias": "float16", "norm.running_mean": "float16",
        "norm.num_batches_tracked": "int64",
        "linear.weight": "bfloat16", "linear.bias": "bfloat16",
        "attention.in_proj_bias": "bfloat16",
        "text.token": "float16",
        "vision.conv.weight": "int8_rows",
        "logit_scale": "float16",  # it has no rows, so int8_rows cannot hold it
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("norms", {"norm.weight", "norm.bias", "norm.running_mean"}),
        ("biases", {"norm.bias", "linear.bias", "attention.in_proj_bias"}),
        ("logit_*", {"logit_scale"}),
        ("text.block.n?rm.weight", {"norm.weight"}),
    ],
)
def test_what_is_kept(keep: str, kept: set[str]) -> None:
    found = names(planned(PLAN, default="bfloat16", keep=[keep]))
    assert {name for name, storage in found.items() if storage == "float32"} == kept


@pytest.mark.parametrize("keep", ["norms", "biases"])
def test_a_model_may_have_nothing_of_a_word(keep: str) -> None:
    assert names(planned({"a": TensorPlan((2, 2))}, keep=[keep])) == {"a": "float32"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rules": [{"match": "txt.*", "use": "float16"}]}, r"storage\.rules\.0\.match: `txt\.\*`"),
        ({"keep": ["norms", "norm"]}, r"storage\.keep\.1: `norm`"),
        ({"keep": ["*num_batches*"]}, "no tensor of floating-point numbers"),
        ({"default": "int8_rows", "keep_as": "int8_rows"}, r"`int8_rows` cannot hold .* \[4\]"),
    ],
)
def test_a_section_that_does_not_fit_the_model(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        planned(PLAN, **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rules": [{"use": "float16"}]}, "rule 0 .`float16`. has no `match: PATTERN`"),
        ({"default": {"use": "float16", "match": "a*"}}, "`storage.rules` only"),
        ({"keep_as": {"use": "float16", "match": "a*"}}, "`storage.rules` only"),
        ({"keep": [""]}, "empty pattern"),
        ({"rules": [{"use": "float16", "match": ""}]}, "at least 1 character"),
        ({"default": {"use": "foreign"}}, "StorageSettings"),
        ({"dtype": "float16"}, "dtype"),
    ],
)
def test_a_section_that_is_wrong_in_itself(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        section(**values)


def test_a_part_may_not_take_another_tensors_name() -> None:
    plan = {"a": TensorPlan((2, 2)), "a.scale": TensorPlan((2,))}
    with pytest.raises(
        PluginError, match=r"a and a\.scale would both be stored under the name a\.scale"
    ):
        planned(plan, default="int8_rows")


# --- what a file holds -------------------------------------------------------------------------

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
texts = st.text("abz.é\n", min_size=1, max_size=8)
plans = st.dictionaries(
    texts,
    st.builds(TensorPlan, shapes, st.sampled_from(["float", "float", "float", "int64", "bool"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(st.data(), plans)
def test_the_predicted_file_is_written_and_read(data: st.DataObject, plan: Plan) -> None:
    floats = sorted(name for name, tensor in plan.items() if tensor.dtype == "float")
    rules = [
        {"match": name.replace("[", "[[]"), "use": data.draw(st.sampled_from(USES[1:]))}
        for name in data.draw(st.lists(st.sampled_from(floats), max_size=4)) if floats
    ] if floats else []  # fmt: skip
    values = {
        "default": data.draw(st.sampled_from(USES)),
        "rules": rules,
        "keep": data.draw(st.lists(st.sampled_from(["norms", "biases"]), max_size=2)),
        "keep_as": data.draw(st.sampled_from([None, "float16", "pairs"])),
    }
    stored = planned(plan, **values)
    arrays = numbers(plan, data.draw(st.integers(0, 9)))
    parts = encode("here", stored, arrays, WORLD)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        write_parts(path, parts)
        predicted = header_bytes(file_parts(stored)) + sum(t.bytes for t in stored.values())
        assert path.stat().st_size == predicted
        entries = json.loads(json.dumps(to_manifest(stored)))
        for entry in entries:
            Stored.model_validate(entry)
        back = read_weights(path, {"storage": entries}, WORLD)
    assert back.keys() == plan.keys()
    for name, array in arrays.items():
        found, own = back[name].numpy(), stored[name]
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        if own.name in ("float32", "int64", "bool"):
            assert np.array_equal(found, array)
        elif array.size:
            off = {"float16": 1e-3, "bfloat16": 8e-3, "int8_rows": 5e-3, "pairs": 8e-2}[own.name]
            assert np.abs(found - array).max() <= off * np.abs(array).max()


@pytest.mark.parametrize("use", ["float32", "float16", "bfloat16"])
def test_float_storages_write_the_file_that_safetensors_writes(use: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    arrays = numbers(PLAN, 3)
    write_parts(tmp_path / "own", encode("here", planned(PLAN, default=use), arrays, WORLD))
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    dtype = getattr(torch, use)
    save_file(
        {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()},
        tmp_path / "right",
    )
    assert (tmp_path / "own").read_bytes() == (tmp_path / "right").read_bytes()


def test_the_manifest_says_for_every_tensor_how_it_is_stored() -> None:
    entries = to_manifest(
        planned(PLAN, default="int8_rows", rules=[
            {"match": "text.emb*", "use": "pairs", "note": "x"},
            {"match": "text.block.linear.weight", "use": "pairs", "note": "x"},
        ])
    )  # fmt: skip
    found = {name: entry["use"] for entry in entries for name in entry["tensors"]}
    assert found.keys() == PLAN.keys()
    pairs = next(entry for entry in entries if entry["use"] == "pairs")
    assert pairs == {
        "use": "pairs", "settings": {"note": "x"},
        "tensors": {"text.embedding.weight": [10, 4], "text.block.linear.weight": [3, 4]},
    }  # fmt: skip
    assert found["vision.conv.weight"] == "int8_rows"
    assert found["logit_scale"] is None
