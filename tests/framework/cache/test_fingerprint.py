"""The name of a stretch: another one for any change of what its numbers follow from."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.build import make_model
from engine.cache.fingerprint import code_of, fingerprint
from engine.config import load_config
from engine.config.schema import EngineConfig
from engine.contracts.settings import Use
from engine.model import DualEncoder


@pytest.fixture
def config(root: Path) -> EngineConfig:
    """A tiny model with a text tower of four blocks."""
    return load_config(root / "configs" / "tiny" / "sber.yaml")


@pytest.fixture
def model(config: EngineConfig) -> DualEncoder:
    """Its model."""
    torch.manual_seed(0)
    return make_model(config)


def test_a_change_of_weights_within_the_stretch_alone_changes_the_name(
    config: EngineConfig, model: DualEncoder
) -> None:
    tower, use = model.text, config.model.text
    name = fingerprint(tower, 3, use, "float32")
    assert fingerprint(copy.deepcopy(tower), 3, use, "float32") == name
    for segment in range(len(tower.segments())):
        changed = copy.deepcopy(tower)
        with torch.no_grad():
            changed.segments()[segment].parameters()[-1].view(-1)[0] += 1e-3
        same = fingerprint(changed, 3, use, "float32") == name
        assert same == (segment >= 3)


def test_other_numbers_have_another_name(
    config: EngineConfig, model: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tower, use = model.text, config.model.text
    name = fingerprint(tower, 3, use, "float32")
    other = Use(use.plugin, use.settings.model_copy(update={"max_tokens": 7}))
    names = [
        name,
        fingerprint(tower, 2, use, "float32"),
        fingerprint(tower, 3, use, "float16"),
        fingerprint(tower, 3, use, "float32", "other pixels"),
        fingerprint(tower, 3, other, "float32"),
    ]
    monkeypatch.setattr(torch, "__version__", "2.0.0")
    names.append(fingerprint(tower, 3, use, "float32"))
    assert len(set(names)) == len(names)


def test_where_weights_come_from_does_not_change_the_name(
    config: EngineConfig, model: DualEncoder
) -> None:
    use = config.model.text
    settings = use.settings.model_copy(update={"weights": None})
    assert use.settings != settings
    names = {fingerprint(model.text, 3, u, "float32") for u in (use, Use(use.plugin, settings))}
    assert len(names) == 1


def test_code_is_known_by_what_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: DualEncoder
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "from torch import nn\n\n\nclass Part(nn.Linear):\n    {}\n"
    file = tmp_path / "a_part_of_a_tower.py"
    file.write_text(source.format("slope = 1"))
    part = importlib.import_module("a_part_of_a_tower").Part
    tower = nn.Sequential(nn.GELU(), part(2, 2))
    name = code_of(tower)
    assert code_of(nn.Sequential(part(3, 3))) == name
    file.write_text(source.format("slope = 2"))
    assert code_of(tower) != name
    assert code_of(nn.Sequential(nn.Linear(2, 2))) not in {name, code_of(tower)}
    assert code_of(model.vision) != code_of(model.text)
    nowhere = type("Made", (nn.Module,), {"__module__": "nowhere"})
    assert code_of(nowhere()) == code_of(nowhere())
