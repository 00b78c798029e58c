"""Storage: the file is as long as predicted and comes back, for any tensors, rules and storages."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from engine.contracts.hooks import Plugin
from engine.contracts.plan import Plan, TensorPlan
from engine.contracts.settings import Settings
from engine.contracts.storage import (
    Shape,
    Storage,
    StorageSettings,
    StoredArray,
    StoredTensor,
)
from engine.core.config.schema import WeightStorageSettings
from engine.core.manifest import Stored
from engine.core.registry import default_registry
from engine.core.size import header_bytes
from engine.core.storage import StoragePlan, file_parts, plan_storage, to_manifest
from engine.core.storage_file import encode, write_parts
from engine.core.weights import read_weights
from engine.errors import ArtifactError, ConfigError, PluginError, WeightsError


class Pairs(Storage):
    """Two numbers a byte, four bits each, with the largest of the tensor: odd ones need a shape."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        count = int(np.prod(shape))
        return {"": StoredTensor("U8", (-(-count // 2),)), ".largest": StoredTensor("F32", ())}

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        largest = np.abs(array).max(initial=0).astype(np.float32)
        levels = np.rint(array.ravel() / (largest or 1) * 7 + 8).astype(np.uint8)
        levels = np.append(levels, [0] * (levels.size % 2)).astype(np.uint8)
        return {
            "": StoredArray("U8", levels[::2] | levels[1::2] << 4),
            ".largest": StoredArray("F32", np.float32(largest).reshape(())),
        }

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        packed, count = parts[""].array, int(np.prod(shape))
        levels = np.stack([packed & 15, packed >> 4], axis=1).ravel()[:count].astype(np.float32)
        largest = parts[".largest"].array
        return ((levels - 8) / np.float32(7) * largest).astype(np.float32).reshape(shape)


class Liar(Pairs):
    """Plans something else than it gives."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {**super().plan(shape), "": StoredTensor("U8", (1,))}


class Unreadable(Pairs):
    """Gives infinity back."""

    def decode(self, parts: Mapping[str, StoredArray], shape: Shape) -> np.ndarray:
        return np.full(shape, np.inf, np.float32)


class NoDtype(Pairs):
    """Plans a dtype that no file has."""

    def plan(self, shape: Shape) -> Mapping[str, StoredTensor]:
        return {"": StoredTensor("I3", shape)}


class Carrier(Pairs):
    """Carries bytes in an array of another dtype."""

    def encode(self, array: np.ndarray) -> Mapping[str, StoredArray]:
        parts = super().encode(array)
        return {**parts, "": StoredArray("U8", parts[""].array.astype(np.int16))}


class PairsSettings(StorageSettings):
    """With something to choose."""

    note: str = ""


class NotStorageSettings(Settings):
    """Of another base."""


OWN = {
    one.__name__.lower(): Plugin(
        "storage", one.__name__.lower(), f"{__name__}:{one.__name__}", f"{__name__}:PairsSettings"
    )
    for one in (Pairs, Liar, Unreadable, NoDtype, Carrier)
}
OWN["foreign"] = Plugin("storage", "foreign", f"{__name__}:Pairs", f"{__name__}:NotStorageSettings")


class World:
    """The installed plugins and those above."""

    def get(self, kind: str, name: str) -> Plugin:
        return OWN[name] if name in OWN else default_registry().get(kind, name)

    def names(self, kind: str) -> list[str]:
        return default_registry().names(kind)


WORLD: Any = World()
USES = [None, "float32", "float16", "bfloat16", "int8_rows", "pairs"]


def section(**values: Any) -> WeightStorageSettings:
    return WeightStorageSettings.model_validate(values, context={"registry": WORLD})


def planned(plan: Plan, **values: Any) -> StoragePlan:
    return plan_storage(plan, section(**values))


PLAN: Plan = {
    "text.embedding.weight": TensorPlan((10, 4)),
    "text.block.norm.weight": TensorPlan((4,)),
    "text.block.norm.bias": TensorPlan((4,)),
    "text.block.norm.running_mean": TensorPlan((4,), buffer=True),
    "text.block.norm.num_batches_tracked": TensorPlan((), "int64", buffer=True),
    "text.block.linear.weight": TensorPlan((3, 4)),
    "text.block.linear.bias": TensorPlan((3,)),
    "text.block.attention.in_proj_bias": TensorPlan((12,)),
    "text.token": TensorPlan((4,)),
    "vision.conv.weight": TensorPlan((3, 2, 5, 5)),
    "logit_scale": TensorPlan(()),
}


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


def numbers(plan: Plan, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    dtypes = {"float": np.float32, "int64": np.int64, "bool": np.bool_}
    return {
        name: (random.normal(size=tensor.shape) * 10).astype(dtypes[tensor.dtype])
        for name, tensor in plan.items()
    }


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
