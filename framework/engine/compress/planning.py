"""What a fit could do, with exact bytes, before there are weights. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.compress.choices import items_of, shown, storages, with_choices
from engine.compress.steps import (
    PlannedStep,
    facts_of,
    planned_alternatives,
    planned_steps,
    without_limit,
)
from engine.contracts.tokenizer import Tokenizer
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry, default_registry
from engine.core.size import config_size, model_plan, size_of_plan


@dataclass(frozen=True)
class Planned:
    """What a fit could do.

    Attributes:
        name: of the model.
        before: bytes of the weights now.
        steps: the lossless steps, each on what the ones before it left, and then those that change
            answers by their rounding alone.
        after_steps: bytes of the weights after them.
        storages: bytes of the whole file with one storage for every tensor that it can hold, by the
            storage, ascending.
        smallest: bytes of the smallest combination of storages.
        notes: compressors that could not be planned, and why.
        trained: steps that ``--train`` may do where nothing else meets the limit, each on the model
            after the other steps, with the bytes of the smallest combination of storages then.
    """

    name: str
    before: int
    steps: list[PlannedStep]
    after_steps: int
    storages: dict[str, int]
    smallest: int
    notes: list[str]
    trained: list[tuple[PlannedStep, int]]

    def to_json(self, limit: int) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name, "limit": limit, "bytes_before": self.before,
            "steps": [one.to_json() for one in self.steps],
            "bytes_after_steps": self.after_steps, "storages": self.storages,
            "smallest": self.smallest, "possible": self.smallest <= limit, "notes": self.notes,
            "trained": [one.to_json() | {"smallest": least} for one, least in self.trained],
        }  # fmt: skip


def plan_fit(
    config: EngineConfig,
    tokenizer: Tokenizer | None,
    *,
    texts: Sequence[str] = (),
    languages: Sequence[str] = (),
    registry: Registry | None = None,
) -> Planned:
    """The candidate steps of a model with their bytes.

    Args:
        config: of the model.
        tokenizer: its tokenizer; ``None``: not to be had here, and the vocabulary stays.
        texts: calibration texts.
        languages: that the vocabulary must be able to spell.
        registry: the plugins.
    """
    registry = registry or default_registry()
    config = without_limit(config)
    before = config_size(config).total
    facts = facts_of(config, tokenizer, texts, languages)
    steps, notes = planned_steps(config, facts, registry=registry)
    if steps:
        config = steps[-1].config
    facts = facts_of(config, _last_tokenizer(steps, tokenizer), texts, languages)
    folded, _ = planned_steps(config, facts, kinds=["same function"], registry=registry)
    if folded:
        config = folded[-1].config
    plan = model_plan(config)
    items = items_of(plan, config, registry)
    found: dict[str, int] = {}
    for ref in storages(registry):
        name = shown(ref)
        chosen = [
            next((i for i, choice in enumerate(item.choices) if choice.name == name), 0)
            for item in items
        ]
        if any(chosen):
            made = with_choices(config, plan, items, chosen, registry)
            found[name] = size_of_plan(plan, made, None).total
    facts = facts_of(config, facts.tokenizer, texts, languages)
    trained = [
        (planned, _smallest(planned.config, registry))
        for planned in planned_alternatives(config, facts, registry)
    ]
    return Planned(
        config.name, before, [*steps, *folded], size_of_plan(plan, config, None).total,
        dict(sorted(found.items(), key=lambda pair: pair[1])), _smallest(config, registry), notes,
        trained,
    )  # fmt: skip


def _last_tokenizer(steps: Sequence[PlannedStep], tokenizer: Tokenizer | None) -> Tokenizer | None:
    made = [planned.step.tokenizer for planned in steps if planned.step.tokenizer is not None]
    return made[-1] if made else tokenizer


def _smallest(config: EngineConfig, registry: Registry) -> int:
    """Bytes of the smallest combination of storages, exact."""
    plan = model_plan(config)
    items = items_of(plan, config, registry)
    least = [min(range(len(item.choices)), key=lambda i: item.choices[i].bytes) for item in items]
    return size_of_plan(plan, with_choices(config, plan, items, least, registry), None).total
