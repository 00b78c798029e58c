"""Steps that leave the function of a model as it is, up to the rounding of float32."""

from __future__ import annotations

from collections.abc import Sequence

from engine.compress.calibration import (
    TowerProbe,
    cosine_loss,
    drawn_pixels,
    image_probe,
    spread,
    text_probe,
)
from engine.compress.steps import PlannedStep, compress, facts_of, planned_steps
from engine.core.build import Built
from engine.core.registry import Registry
from engine.errors import PluginError

ROUNDING = 1e-6
"""1 - cosine that the rounding of float32 may make."""

_FEW = 8


def fold(
    built: Built, texts: Sequence[str], languages: Sequence[str], registry: Registry
) -> list[PlannedStep]:
    """Do the steps that change answers by their rounding alone, in place; each is compared.

    Raises:
        PluginError: a step changes more.
    """
    facts = facts_of(built.config, built.tokenizer, texts, languages)
    steps, _ = planned_steps(built.config, facts, kinds=["same function"], registry=registry)
    for planned in steps:
        probes = _few_inputs(built, texts)
        compress(built, planned)
        for name, probe in _few_inputs(built, texts).items():
            lost = cosine_loss(probes[name].reference, probe.reference)
            if lost > ROUNDING:
                raise PluginError(
                    f"compressor `{planned.use['use']}` says that the model computes the same, and"
                    f" 1 - cosine of the {name} tower is {lost:.2g}",
                    hint="a fault of the plugin; leave it out, or report it to its author",
                )
    return steps


def _few_inputs(built: Built, texts: Sequence[str]) -> dict[str, TowerProbe]:
    found = {"text": text_probe(built.model, built.tokenizer, spread(list(texts), _FEW))}
    if any(True for _ in built.model.vision.parameters()):
        found["vision"] = image_probe(built.model, drawn_pixels(built.model, _FEW))
    return found
