"""Compressors at work: what they change in a config, and the smaller model.

What is planned here imports no torch; :func:`compressed` does.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.contracts.refs import CompressorRef
from engine.contracts.tokenizer import Tokenizer
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry, default_registry
from engine.core.size import config_size
from engine.errors import ConfigError, DataError, EngineError, PluginError, WeightsError

if TYPE_CHECKING:
    from engine.core.build import Built


StepKind = Literal["lossless", "same function", "trained"]
"""What a step changes: no bit of an answer, answers by the rounding of float32, or more, so that
the result must be trained."""


@dataclass(frozen=True)
class PlannedStep:
    """A compressor's step on a model, with what it saves.

    Attributes:
        use: the compressor as a config would name it, ``{"use": ..., ...}``.
        compressor: the plugin.
        step: what it does.
        config: the config afterwards.
        saved: bytes of weights that it saves, as the config stores them.
    """

    use: Mapping[str, Any]
    compressor: Compressor
    step: CompressionStep
    config: EngineConfig
    saved: int

    @property
    def answers(self) -> str:
        """What it changes, for the user."""
        if self.compressor.lossless:
            outside = f"; {self.step.outside}" if self.step.outside else ""
            return f"nothing changes for {self.compressor.lossless}{outside}"
        if self.compressor.same_function:
            return "answers change by the rounding of float32 alone"
        return "answers may change"

    def to_json(self) -> dict[str, Any]:
        """For the manifest of the artifact."""
        return {
            **self.use,
            "summary": self.step.summary,
            "lossless": self.compressor.lossless,
            "bytes_saved": self.saved,
            **({"outside": self.step.outside} if self.step.outside else {}),
            **self.step.details,
        }


def tokenizer_of(config: EngineConfig) -> Tokenizer | None:
    """The tokenizer of a config whose vocabulary can be read; else ``None``. Imports no torch."""
    settings = config.model.text.settings
    use = settings.tokenizer

    def texts() -> Iterable[str]:
        raise DataError("a tokenizer that is trained has no vocabulary before the build")

    try:
        return use.target().make(use.settings, texts, settings.vocab_size)
    except (WeightsError, DataError):
        return None


def facts_of(
    config: EngineConfig,
    tokenizer: Tokenizer | None,
    texts: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> ModelFacts:
    """What compressors see of a model."""
    model = config.model
    return ModelFacts(model.text.settings, model.vision.settings, tokenizer, texts, languages)


def with_model_settings(
    config: EngineConfig, changes: Mapping[str, Any], registry: Registry
) -> EngineConfig:
    """The config with some settings below ``model`` changed, validated again.

    Args:
        config: the config.
        changes: dotted keys below ``model`` to values of JSON.
        registry: the plugins.

    Raises:
        PluginError: a change does not fit the config (a fault of the compressor).
    """
    document = config.model_dump(mode="json", by_alias=True, round_trip=True)
    document = copy.deepcopy(document)
    for key, value in changes.items():
        place = document["model"]
        *parents, last = key.split(".")
        for parent in parents:
            place = place[parent]
        place[last] = value
    return validated(document, registry)


def validated(document: Mapping[str, Any], registry: Registry) -> EngineConfig:
    """A config from its document.

    Raises:
        PluginError: it is not valid.
    """
    try:
        return EngineConfig.model_validate(document, context={"registry": registry})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise PluginError(
            f"a compressed config is not valid: {place}: {first['msg']}",
            hint="a fault of the compressor: what it changes must be valid together",
        ) from error


def plan_step(
    use: Mapping[str, Any],
    config: EngineConfig,
    facts: ModelFacts,
    registry: Registry | None = None,
) -> PlannedStep | None:
    """What a compressor would do to a model; ``None``: nothing.

    Raises:
        ConfigError: it does not fit the model.
        PluginError: what it changes is not valid, or makes the model larger.
    """
    registry = registry or default_registry()
    try:
        ref = TypeAdapter(CompressorRef).validate_python(dict(use), context={"registry": registry})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"compressor `{use.get('use')}`: {place}: {first['msg']}") from error
    compressor = ref.create()
    step = compressor.plan(facts)
    if step is None:
        return None
    after = with_model_settings(config, step.settings, registry)
    saved = config_size(config).total - config_size(after).total
    if saved < 0:
        raise PluginError(f"compressor `{ref.name}`: the model would get {-saved:,} bytes larger")
    return PlannedStep(ref.to_config(), compressor, step, after, saved)


def planned_steps(
    config: EngineConfig,
    facts: ModelFacts,
    *,
    kinds: Sequence[StepKind] = ("lossless",),
    registry: Registry | None = None,
) -> tuple[list[PlannedStep], list[str]]:
    """The steps that every installed compressor offers for a model, one after the other.

    Each is planned on what the ones before it left.

    Args:
        config: the model's.
        facts: see :func:`facts_of`.
        kinds: which steps, in this order.
        registry: the plugins.

    Returns:
        The steps, and sentences on compressors that could not be planned.

    Raises:
        ConfigError: a language that the user named is not known, or cannot be spelled.
    """
    registry = registry or default_registry()
    found: list[PlannedStep] = []
    notes: list[str] = []
    names = sorted(registry.names("compressor"))
    for kind in kinds:
        for name in names:
            target = registry.get("compressor", name).load()
            if kind != _kind_of(target):
                continue
            for settings in target.candidates(facts):
                try:
                    planned = plan_step({"use": name, **settings}, config, facts, registry)
                except EngineError as error:
                    if isinstance(error, ConfigError) and facts.languages and facts.tokenizer:
                        raise  # the user named what cannot be had
                    notes.append(f"{name}: {error.message}")
                    continue
                if planned is None or (kind == "lossless" and planned.compressor.lossless is None):
                    continue
                found.append(planned)
                config = planned.config
                tokenizer = planned.step.tokenizer or facts.tokenizer
                facts = facts_of(config, tokenizer, facts.texts, facts.languages)
    return found, notes


def planned_alternatives(
    config: EngineConfig, facts: ModelFacts, registry: Registry
) -> list[PlannedStep]:
    """The steps whose result must be trained, each on the same model.

    What does not fit the model is left out.
    """
    found = []
    for name in sorted(registry.names("compressor")):
        target = registry.get("compressor", name).load()
        if _kind_of(target) != "trained":
            continue
        for settings in target.candidates(facts):
            with contextlib.suppress(EngineError):
                planned = plan_step({"use": name, **settings}, config, facts, registry)
                if planned is not None:
                    found.append(planned)
    return found


def _kind_of(target: type[Compressor]) -> StepKind:
    if target.needs_training:
        return "trained"
    return "same function" if target.same_function else "lossless"


def compressed(built: Built, planned: PlannedStep) -> Built:
    """The smaller model. The one that it is made of is not changed.

    Raises:
        PluginError: the compressor's tensors are not those of the smaller model.
    """
    from engine.core.build import Built
    from engine.core.making import model_of, shapes_of

    model = built.model
    model.merge()
    shapes = shapes_of(planned.config)
    tensors = planned.compressor.apply(planned.step, model.state_dict(), shapes)
    try:
        smaller = model_of(planned.config, tensors)
    except WeightsError as error:
        raise PluginError(
            f"compressor `{planned.use['use']}`: {error.message}",
            hint="a fault of the plugin: plan() and apply() differ",
        ) from error
    tokenizer = planned.step.tokenizer or built.tokenizer
    manifest = {
        **built.manifest,
        "tokenizer": {
            **built.manifest.get("tokenizer", {}),
            "origin": tokenizer.origin,
            "vocab_size": tokenizer.vocab_size,
        },
    }
    return Built(planned.config, smaller, tokenizer, manifest, built.clusters)


def compress(built: Built, planned: PlannedStep) -> None:
    """Make a model smaller in place: nobody holds its larger tensors afterwards.

    Raises:
        PluginError: as :func:`compressed`.
    """
    smaller = compressed(built, planned)
    built.config, built.model = smaller.config, smaller.model
    built.tokenizer, built.manifest = smaller.tokenizer, smaller.manifest


def recorded(manifest: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A manifest with the steps that were done, after those of earlier compressions."""
    own = manifest.get("compression", {})
    before = own.get("steps", []) if isinstance(own, dict) else []
    return {**manifest, "compression": {"steps": [*before, *steps]}}


def without_limit(config: EngineConfig) -> EngineConfig:
    """The config with no limits, for models that are still to be made smaller."""
    return config.model_copy(
        update={"limits": config.limits.model_copy(update={"weights": None, "folder": None})}
    )
