"""Trim: the lossless steps alone, each checked on texts for which nothing may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engine.compress.steps import (
    PlannedStep,
    compressed,
    facts_of,
    planned_steps,
    recorded,
    without_limit,
)
from engine.core.build import Built
from engine.core.registry import Registry, default_registry
from engine.core.size import SizeReport, plan_of_module, size_of_plan
from engine.errors import PluginError
from engine.evaluate.texts import encode_texts


@dataclass(frozen=True)
class TrimmedModel:
    """A trimmed model.

    Attributes:
        built: the model, ready to be saved.
        before: bytes of the weights before.
        size: of the model now.
        steps: what was done; empty where there was nothing to do.
        checked: texts on which its embeddings were compared with the model's, bit for bit.
        notes: what the user should know.
    """

    built: Built
    before: int
    size: SizeReport
    steps: list[PlannedStep]
    checked: int
    notes: list[str]


def trim(
    built: Built,
    *,
    languages: Sequence[str] = (),
    texts: Sequence[str] = (),
    registry: Registry | None = None,
) -> TrimmedModel:
    """Do every lossless step that the installed compressors offer.

    Args:
        built: the model; adapters are folded in, otherwise it is not changed.
        languages: that the vocabulary must be able to spell: codes, or names of scripts.
        texts: whose tokens stay too; without languages, their scripts stay.
        registry: the plugins.

    Raises:
        PluginError: an answer changed although a step said that it would not.
    """
    registry = registry or default_registry()
    built.config = without_limit(built.config)
    built.model.merge()
    before = size_of_plan(plan_of_module(built.model), built.config, None).total
    facts = facts_of(built.config, built.tokenizer, texts, languages)
    steps, notes = planned_steps(built.config, facts, registry=registry)
    checked = 0
    for planned in steps:
        smaller = compressed(built, planned)
        checked += check(built, smaller, planned)
        built = smaller
    built.manifest = recorded(built.manifest, [one.to_json() for one in steps])
    size = size_of_plan(plan_of_module(built.model), built.config, None)
    return TrimmedModel(built, before, size, steps, checked, notes)


def check(original: Built, smaller: Built, planned: PlannedStep) -> int:
    """Compare both models on a step's examples, bit for bit; gives how many there were.

    Raises:
        PluginError: an embedding differs.
    """
    examples = list(planned.step.examples)
    if planned.compressor.lossless is None or not examples:
        return 0
    own = encode_texts(original.model, original.tokenizer, examples, raw=True)
    new = encode_texts(smaller.model, smaller.tokenizer, examples, raw=True)
    if not torch.equal(own, new):
        first = next(i for i in range(len(own)) if not torch.equal(own[i], new[i]))
        raise PluginError(
            f"compressor `{planned.use['use']}` says that nothing changes for"
            f" {planned.compressor.lossless}, and the embedding of {examples[first]!r:.80} does",
            hint="a fault of the plugin; leave it out, or report it to its author",
        )
    return len(examples)
