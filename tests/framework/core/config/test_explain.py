"""Every key of a config explained, from the schema itself."""

from __future__ import annotations

import pytest

from engine.contracts.kinds import KINDS
from engine.core.config.explain import ConfigKey, explain, page, plugin_keys
from engine.core.registry import default_registry
from engine.errors import ConfigError

REGISTRY = default_registry()


def _all() -> list[ConfigKey]:
    of_plugins = [
        key
        for kind in KINDS
        for name in REGISTRY.names(kind)
        for key in plugin_keys(kind, name, REGISTRY, f"{kind}.{name}")
    ]
    return [*explain("", REGISTRY), *of_plugins]


def test_every_key_has_a_description_a_type_and_an_example() -> None:
    keys = _all()
    assert len(keys) > 300
    for field in ("description", "type", "example"):
        assert not [key.path for key in keys if not getattr(key, field)], field
    assert not [key.path for key in keys if not key.required and not key.default]


@pytest.mark.parametrize(
    ("path", "first", "count"),
    [
        ("train.stages", "train.stages", 30),
        ("train.stages.0.batch_size", "train.stages.batch_size", 1),
        ("model.text.gpt3small.width", "model.text.gpt3small.width", 1),
        ("train.stages.optimizer.adamw.lr", "train.stages.optimizer.adamw.lr", 1),
        ("data.train.count", "data.train.digits.count", 2),
    ],
)
def test_a_key_and_what_is_below(path: str, first: str, count: int) -> None:
    found = explain(path, REGISTRY)
    assert found[0].path == first
    assert len(found) >= count


def test_what_a_key_says() -> None:
    by = {key.path: key for key in explain("", REGISTRY)}
    size = by["train.stages.batch_size"]
    assert (size.default, size.required, size.example) == ("256", False, "batch_size: 256")
    assert by["limits.weights"].unit == "bytes"
    assert by["limits.weights"].example == "weights: 20 GB"
    assert by["train.save_minutes"].unit == "minutes"
    assert by["train.stages.losses"].kind == "loss"
    assert "contrastive" in by["train.stages.losses"].plugins


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("trian.stages", "train.stages"),
        ("train.stages.lr", "train.stages.optimizer.adamw.lr"),
        ("batch_size", "train.stages.batch_size"),
    ],
)
def test_an_unknown_key_names_near_ones(path: str, near: str) -> None:
    with pytest.raises(ConfigError, match="has no key") as caught:
        explain(path, REGISTRY)
    assert f"`{near}`" in caught.value.message


def test_the_page_has_every_key() -> None:
    text = page(REGISTRY)
    for key in explain("", REGISTRY):
        assert f"| `{key.path}` |" in text
    for kind in KINDS:
        for name in REGISTRY.names(kind):
            if list(plugin_keys(kind, name, REGISTRY, "")):
                assert f"## {kind}: {name}\n" in text
