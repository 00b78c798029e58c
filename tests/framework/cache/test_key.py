"""The names of cached activations: another one for any change of what the numbers follow from."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import engine.core.code_identity as code_identity
from engine.cache.entry import Entry
from engine.cache.frozen import autocast, current_precision, probe
from engine.cache.key import activation_key, code_of, item_key
from engine.contracts.settings import PluginRef
from engine.contracts.tower import Tower
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.core.model import DualEncoder

CPU = torch.device("cpu")
ENTRIES = [Entry("hidden", (8,), True, "float32")]


@pytest.fixture
def config(root: Path) -> EngineConfig:
    """A tiny model with a text tower of four blocks."""
    return load_config(root / "configs" / "tiny" / "sber.yaml")


@pytest.fixture
def model(config: EngineConfig) -> DualEncoder:
    """Its model."""
    torch.manual_seed(0)
    return make_model(config)


def key(tower: Tower, use: PluginRef, stop: int = 3, **other: Any) -> str:
    how = {"entries": ENTRIES, "device": CPU, "precision": torch.float32, **other}
    return activation_key(tower, stop, use, **how)


def test_equal_ingredients_give_equal_names(config: EngineConfig, model: DualEncoder) -> None:
    tower, use = model.text, config.model.text
    name = key(tower, use)
    assert key(copy.deepcopy(tower), use) == name
    assert key(tower, PluginRef(use.plugin, use.settings.model_copy(deep=True))) == name
    # Where weights and a tokenizer come from is not what they are.
    assert (
        key(tower, PluginRef(use.plugin, use.settings.model_copy(update={"weights": None}))) == name
    )
    assert key(tower, use, device=torch.device("cpu", 0)) == name
    for parameter in tower.parameters():
        parameter.requires_grad_(False)
    assert key(tower, use) == name


def test_a_change_of_weights_within_the_prefix_alone_changes_the_name(
    config: EngineConfig, model: DualEncoder
) -> None:
    tower, use = model.text, config.model.text
    name = key(tower, use)
    for segment in range(len(tower.segments())):
        changed = copy.deepcopy(tower)
        with torch.no_grad():
            changed.segments()[segment].parameters()[-1].view(-1)[0] += 1e-3
        assert (key(changed, use) == name) == (segment >= 3)


def _settings(use: PluginRef, **update: object) -> PluginRef:
    return PluginRef(use.plugin, use.settings.model_copy(update=update))


OTHERS: dict[str, Callable[[Tower, PluginRef], str]] = {
    "stop": lambda tower, use: key(tower, use, stop=2),
    "dtype": lambda tower, use: key(
        tower, use, entries=[Entry("hidden", (8,), True, "float16")]
    ),
    "entries": lambda tower, use: key(tower, use, entries=[*ENTRIES, *ENTRIES]),
    "settings": lambda tower, use: key(tower, _settings(use, max_tokens=7)),
    "precision": lambda tower, use: key(tower, use, precision=torch.bfloat16),
    "half": lambda tower, use: key(tower, use, precision=torch.float16),
    "device": lambda tower, use: key(tower, use, device=torch.device("meta")),
    "weights' dtype": lambda tower, use: key(copy.deepcopy(tower).half(), use),
}  # fmt: skip


def test_every_other_ingredient_changes_the_name(
    config: EngineConfig, model: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, use = model.text, config.model.text
    names = {"same": key(tower, use)}
    names |= {what: make(tower, use) for what, make in OTHERS.items()}
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "2.0.0")
        names["torch"] = key(tower, use)
    with monkeypatch.context() as patched:
        patched.setattr(code_identity, "version_of", lambda name: "0.0.1")
        names["libraries"] = key(tower, use)
    with monkeypatch.context() as patched:
        patched.setattr("engine.cache.key.FORMAT", 0)
        names["format"] = key(tower, use)
    torch.set_float32_matmul_precision("high")
    try:
        names["products"] = key(tower, use)
    finally:
        torch.set_float32_matmul_precision("highest")
    compiled = copy.deepcopy(tower)
    compiled.segments()[1].parts[0].compile()  # type: ignore[union-attr]
    names["compiled"] = key(compiled, use)
    assert len(set(names.values())) == len(names), names
    assert key(tower, use) == names["same"]


def test_a_buffer_of_the_prefix_counts_and_a_later_one_does_not(
    config: EngineConfig, model: DualEncoder
) -> None:
    tower, use = model.text, config.model.text
    name = key(tower, use)
    for segment, same in ((1, False), (3, True)):
        changed = copy.deepcopy(tower)
        part = changed.segments()[segment].parts[0]
        assert isinstance(part, nn.Module)
        part.register_buffer("mean", torch.ones(2))
        assert (key(changed, use) == name) == same


def test_the_preprocessing_of_pictures_counts(config: EngineConfig, model: DualEncoder) -> None:
    from dataclasses import replace

    tower, use = model.vision, config.model.vision
    name = key(tower, use, stop=1)
    changed = copy.deepcopy(tower)
    changed.preprocess = replace(tower.preprocess, interpolation="bilinear")
    assert key(changed, use, stop=1) != name


def test_a_preprocessing_of_its_own_counts_by_its_identity_and_its_code(
    config: EngineConfig, model: DualEncoder
) -> None:
    def made(divisor: str, identity: str) -> Any:
        space: dict[str, Any] = {"__name__": "__main__", "identity": identity}
        exec(
            "class Own:\n    size = 64\n    def identity(self):\n        return identity\n"
            f"    def to_tensor(self, batch):\n        return batch / {divisor}\n",
            space,
        )
        return space["Own"]()

    tower, use = model.vision, config.model.vision
    names = []
    for own in (made("255", "a"), made("255", "a"), made("128", "a"), made("255", "b")):
        changed = copy.deepcopy(tower)
        changed.preprocess = own
        names.append(key(changed, use, stop=1))
    assert names[0] == names[1]
    assert len(set(names)) == 3


# ---- code --------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a part of a tower, which imports in all the ways that there are."""
    folder = tmp_path / "their_parts"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("SLOPE = 1\n")
    (folder / "inner" / "__init__.py").write_text("")
    (folder / "part.py").write_text(
        "from torch import nn\n"
        "from . import relative\n"
        "from .inner.deep import depth\n"
        "import their_parts.absolute\n"
        "class Part(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        from their_parts import late\n"
        "        return late.f(super().forward(x))\n"
    )
    for name in ("relative", "absolute", "unused", "inner/deep"):
        (folder / f"{name}.py").write_text("depth = 1\n")
    (folder / "late.py").write_text("from their_parts import later\nf = abs\n")
    (folder / "later.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import their_parts.unused\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.startswith("their_parts")]:
        del sys.modules[name]


def test_code_counts_as_far_as_it_is_imported(package: Path) -> None:
    part = importlib.import_module("their_parts.part").Part
    tower = nn.Sequential(nn.GELU(), part(2, 2))
    before = code_of(tower)
    assert code_of(nn.Sequential(part(3, 3), nn.GELU())) == before
    for name in ("__init__", "part", "relative", "absolute", "inner/deep", "inner/__init__", "late",
                 "later", "unused"):  # fmt: skip
        file = package / f"{name}.py"
        text = file.read_text()
        file.write_text(text + "more = 2\n")
        assert (code_of(tower) == before) == (name == "unused"), name
        file.write_text(text)
        assert code_of(tower) == before
    assert "package torch" in before
    (package / "relative.py").unlink()
    assert code_of(tower) != before


def test_the_towers_own_code_engines_part_and_libraries_count(model: DualEncoder) -> None:
    vision, text = code_of(model.vision), code_of(model.text)
    for found in (vision, text):
        assert {
            "module engine.cache.items",
            "module engine.contracts.tower",
            "package torch",
            "package numpy",
        } <= found.keys()
        assert not any(name.startswith("module engine.cli") for name in found)
    assert "module engine.contracts.preprocess" in vision
    assert not any("preprocess" in name or "contracts.cut" in name for name in text)
    # Samples are named by their pixels or token ids: how those came about does not count.
    readers = ("module engine.data.pictures", "module engine.evaluate")
    assert not any(name.startswith(readers) for name in {**vision, **text})
    assert f"module {type(model.vision).__module__}" in vision
    assert f"module {type(model.vision).__module__}" not in text
    assert all(value != "missing" for value in {**vision, **text}.values())


def test_timm_counts_where_a_tower_is_made_of_it(root: Path) -> None:
    from engine.core.registry import default_registry

    plugin = default_registry().get("vision_tower", "timm")
    tower = PluginRef(plugin, plugin.load_settings()(arch="resnet10t", image_size=64)).create()
    found = code_of(tower)
    assert "package timm" in found
    assert "module timm" not in found


def _made_in_a_notebook(body: str) -> type[nn.Module]:
    space: dict[str, Any] = {"__name__": "__main__", "nn": nn}
    exec(f"class Made(nn.Module):\n    def forward(self, x):\n        return {body}\n", space)
    made: type[nn.Module] = space["Made"]
    return made


def test_code_without_a_file_counts_by_its_instructions() -> None:
    one = code_of(_made_in_a_notebook("x + 1")())
    assert code_of(_made_in_a_notebook("x + 1")()) == one
    assert code_of(_made_in_a_notebook("x + 2")()) != one
    assert code_of(_made_in_a_notebook("[y for y in x.a]")()) != code_of(
        _made_in_a_notebook("[y for y in x.b]")()
    )
    nowhere = type("Made", (nn.Module,), {"__module__": "nowhere"})
    assert code_of(nowhere()) == code_of(nowhere())


# ---- samples -----------------------------------------------------------------------------------


def test_samples_are_named_by_shape_dtype_and_content() -> None:
    one = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    others = [
        one.reshape(1, 4, 3), one.reshape(-1), one + 1, one.astype(np.int32), one[:1],
    ]  # fmt: skip
    names = {item_key(each) for each in (one, *others)}
    assert len(names) == 6
    assert all(len(name) == 16 for name in names)
    assert item_key(np.repeat(one, 2, axis=1)[:, ::2]) == item_key(one)  # not contiguous


# ---- precision ---------------------------------------------------------------------------------


def test_the_precision_in_force() -> None:
    assert current_precision(CPU) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert current_precision(CPU) == torch.bfloat16
        with autocast(CPU, torch.float32):
            assert current_precision(CPU) == torch.float32
            product = torch.ones(2, 2) @ torch.ones(2, 2)
            assert product.dtype == torch.float32
    with autocast(CPU, torch.bfloat16):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == torch.bfloat16


def test_at_its_end_a_tower_keeps_what_is_read_alone(model: DualEncoder) -> None:
    tower = model.text
    short, long = (
        {"ids": torch.zeros(1, n, dtype=torch.int64), "mask": torch.ones(1, n, dtype=torch.bool)}
        for n in (1, 2)
    )
    count = len(tower.segments())
    given = frozenset({"ids", "mask"})
    names = [entry.name for entry in probe(tower, count, short, long, "float32", given=given)]
    assert names == ["pooled"]
    assert probe(tower, count - 1, short, long, "float16", given=given)[0].dtype == "float16"
