"""Predicted bytes are written bytes: for every tiny config, every storage and every compressor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.compress.choices import items_of, storages, with_choices
from engine.compress.planning import plan_fit
from engine.compress.steps import compressed, facts_of, plan_step, validated, without_limit
from engine.core import artifact
from engine.core.build import Built, build, save
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.core.size import config_size, plan_of_module

REGISTRY = default_registry()
TINY = Path(__file__).parents[3] / "configs" / "tiny"
STORAGES = storages(REGISTRY)
COMPRESSORS = sorted(REGISTRY.names("compressor"))
CONFIGS = ["clip_rubert", "sber", "clip_bpe", "organisers_baseline", "ruclip", "sber_cluster"]


@cache
def model(name: str) -> Built:
    """A tiny model with random weights."""
    return build(without_limit(load_config(TINY / f"{name}.yaml")))


def stored(config: EngineConfig, ref: Any) -> EngineConfig:
    """The config with a storage for whatever it can hold."""
    document = config.model_dump(mode="json", by_alias=True, round_trip=True)
    own = {key: value for key, value in ref.to_config().items() if key != "match"}
    document["storage"] = {"default": own, "keep_as": {"use": "float16"}, "keep": ["norms"]}
    return validated(document, REGISTRY)


def candidates(built: Built, use: str) -> list[Mapping[str, Any]]:
    facts = facts_of(built.config, built.tokenizer, ["красный круг"], ["ru"])
    return list(REGISTRY.get("compressor", use).load().candidates(facts))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(CONFIGS),
    ref=st.sampled_from(STORAGES),
    uses=st.lists(st.sampled_from(COMPRESSORS), max_size=3, unique=True),
)
def test_predicted_bytes_are_written(name: str, ref: Any, uses: list[str], tmp_path: Path) -> None:
    built = model(name)
    for use in uses:
        for own in candidates(built, use)[:1]:
            facts = facts_of(built.config, built.tokenizer, ["красный круг"], ["ru"])
            before = config_size(built.config).total
            planned = plan_step({"use": use, **own}, built.config, facts, REGISTRY)
            if planned is not None:
                built = compressed(built, planned)
                assert config_size(built.config).total == before - planned.saved
    built = Built(
        stored(built.config, ref), built.model, built.tokenizer, built.manifest, built.clusters
    )
    report = save(built, tmp_path / "a")
    size = (tmp_path / "a" / artifact.WEIGHTS).stat().st_size
    assert size == report.total == config_size(built.config).total


@pytest.mark.parametrize("name", CONFIGS)
def test_a_plan_names_the_bytes_that_are_written(name: str, tmp_path: Path) -> None:
    """With every lossless step, the smallest and the largest storage of the plan's table."""
    original = model(name)
    built = Built(
        original.config, original.model, original.tokenizer, original.manifest, original.clusters
    )
    planned = plan_fit(built.config, built.tokenizer, languages=["ru"])
    for step in planned.steps:
        built = compressed(built, step)
    config, plan = built.config, plan_of_module(built.model)
    items = items_of(plan, config, REGISTRY)
    sizes = list(planned.storages)
    for storage in {sizes[0], sizes[len(sizes) // 2], sizes[-1]}:
        chosen = [
            next((i for i, choice in enumerate(item.choices) if choice.name == storage), 0)
            for item in items
        ]
        built.config = with_choices(config, plan, items, chosen, REGISTRY)
        save(built, tmp_path / "a")
        size = (tmp_path / "a" / artifact.WEIGHTS).stat().st_size
        assert size == planned.storages[storage] >= planned.smallest
    built.config = config
    save(built, tmp_path / name)
    assert (tmp_path / name / artifact.WEIGHTS).stat().st_size == planned.after_steps
