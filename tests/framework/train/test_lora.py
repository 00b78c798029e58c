"""An example package: LoRA on RuBERT, of which adapters alone train, and a loss of hidden states.

It is used from its source tree here; ``tests/scaffold`` installs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.core import registry as registry_module
from engine.core.build import build, read_artifact
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.size import config_size
from engine.errors import ConfigError
from engine.train.checkpoint import read
from engine.train.run import train
from engine_plugins.text.bert import BertText
from engine_plugins.text.bert_settings import RubertTextSettings

PACKAGE = Path(__file__).resolve().parents[2] / "packages" / "engine-lora"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package, as if it were installed."""
    monkeypatch.syspath_prepend(PACKAGE / "src")
    import engine_lora

    real = registry_module.entry_points

    def points(*args: Any, **more: Any) -> list[Any]:
        own: Any = SimpleNamespace(
            name="engine_lora", value="engine_lora", dist=None, load=lambda: engine_lora
        )
        return [*real(*args, **more), own]

    monkeypatch.setattr(registry_module, "entry_points", points)
    registry_module.default_registry.cache_clear()
    yield
    registry_module.default_registry.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "engine_lora"]:
        del sys.modules[name]


def config_of(*overrides: str) -> EngineConfig:
    common = ("train.threads=1", "train.device=cpu", "train.loggers=[]", "train.save_steps=1")
    return load_config(PACKAGE / "my.yaml", (*common, *overrides))


def test_only_adapters_train_and_are_kept_and_the_artifact_is_a_plain_rubert(
    package: None, tmp_path: Path
) -> None:
    config = config_of("train.checkpoints=100")
    built, size = train(config, tmp_path / "run")
    start = read_artifact(tmp_path / "run" / "start")
    before = start.model.state_dict()
    adapters = {name for name in before if "lora_" in name}
    assert len(adapters) == 2 * 2 * 2
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    last = read(checkpoints[-1]).tensors
    kept = {n.removeprefix("weights.") for n in last if n.startswith("weights.text.")}
    assert kept == adapters
    moved = {n for n in adapters if not torch.equal(last[f"weights.{n}"], before[n])}
    assert moved == adapters
    assert {n for n in last if ".text.encoder." in n and "lora_" not in n} == set()

    # What is saved: the names of a plain rubert, as planned before anything was built.
    stored = load_file(tmp_path / "run" / "model" / "model.safetensors")
    names = {n.removeprefix("text.") for n in stored if n.startswith("text.")}
    plain = config.model.text.settings.model_dump(exclude={"rank", "alpha", "tokenizer"})
    settings = RubertTextSettings.model_construct(**plain)
    tower = BertText(settings)
    assert names == set(tower.state_dict())
    assert size is not None
    assert size.total == config_size(config).total == config_size(config, meta=True).total
    assert size.total == (tmp_path / "run" / "model" / "model.safetensors").stat().st_size

    # It computes what the adapters did, in a plain rubert as in its own tower read again.
    ids, mask = (
        torch.tensor([[5, 9, 3, 0], [7, 2, 0, 0]]),
        torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]]),
    )
    state = {"ids": ids, "mask": mask.bool()}
    tower.load_state_dict(
        {n.removeprefix("text."): t for n, t in stored.items() if n[:5] == "text."}
    )
    unmerged = {
        **before,
        **{n.removeprefix("weights."): t for n, t in last.items() if n.startswith("weights.")},
    }
    start.model.load_state_dict(unmerged)
    again = read_artifact(tmp_path / "run" / "model")
    with torch.no_grad():
        right = start.model.eval().text(state)["pooled"]
        for model in (tower.eval(), again.model.text, built.model.text):
            torch.testing.assert_close(model(state)["pooled"], right, rtol=1e-4, atol=1e-5)
        first = read_artifact(tmp_path / "run" / "start").model.text(state)["pooled"]
    assert not torch.allclose(first, right, atol=1e-4)


def test_a_resumed_run_gives_the_same_adapters(package: None, tmp_path: Path) -> None:
    whole, _ = train(config_of(), tmp_path / "whole")

    class Stop(Exception):
        pass

    calls = 0

    def stopping(built: Any) -> Any:
        def evaluate() -> dict[str, float]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise Stop
            return {"accuracy": 1.0}

        return evaluate

    with pytest.raises(Stop):
        train(config_of(), tmp_path / "cut", evaluator=stopping)
    resumed, _ = train(config_of(), tmp_path / "cut", resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("patterns", "trained"),
    [
        (["text.*lora_A"], {"lora_A"}),
        (["text.*.0.*lora_?", "text.*LayerNorm.bias"], {"lora_A", "lora_B", "bias"}),
        (["vision.norm.*"], {"weight", "bias"}),
        (["logit_scale", "text.embeddings.word_embeddings.weight"], {"logit_scale", "weight"}),
    ],
)
def test_parameters_train_by_name(package: None, patterns: list[str], trained: set[str]) -> None:
    from fnmatch import fnmatchcase

    from engine.train.stages import freeze

    config = config_of(
        f"train.stages.0.trains={{text: false, vision_projection: false, text_projection: false,"
        f" logit_scale: false, parameters: {patterns}}}".replace("'", '"')
    )
    model = build(config).model
    assert config.train is not None
    freeze(model, config.train.stages[0].trains, "here")
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    right = {n for n, _ in model.named_parameters() if any(fnmatchcase(n, p) for p in patterns)}
    assert names == right
    assert {name.rpartition(".")[2] for name in names} == trained
    for name, module in model.named_modules():
        holds = any(p.requires_grad for p in module.parameters(recurse=False))
        if name and not holds and name.startswith(("text.", "vision.")):
            assert not module.training, name


@pytest.mark.parametrize("pattern", ["text.*lora_C", "lora_A", "text.encoder", "image.*"])
def test_a_pattern_that_fits_nothing_is_refused(
    package: None, pattern: str, tmp_path: Path
) -> None:
    config = config_of(f'train.stages.0.trains={{parameters: ["{pattern}"]}}')
    with pytest.raises(ConfigError, match="fits no parameter"):
        train(config, tmp_path / "run")


def test_built_without_training_it_is_plain_too(package: None, tmp_path: Path) -> None:
    from engine.core.build import save

    config = config_of()
    report = save(build(config), tmp_path / "model")
    assert report.total == config_size(config).total
    assert not any("lora_" in name for name in read_artifact(tmp_path / "model").model.state_dict())
