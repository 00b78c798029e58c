"""The cleaning config: which steps, in which order, with which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from engine.contracts.settings import Settings
from engine.data.text.dedup import COMPARING_STEPS
from engine.data.text.steps import TEXT_STEPS
from engine.errors import did_you_mean

STEPS: dict[str, type[Settings]] = {
    name: settings for name, (settings, _) in {**TEXT_STEPS, **COMPARING_STEPS}.items()
}
"""Every step and its settings."""


@dataclass(frozen=True)
class CleaningStep:
    """A step chosen in a config.

    Attributes:
        name: a key of ``STEPS``.
        settings: validated.
    """

    name: str
    settings: Settings

    def to_config(self) -> dict[str, Any]:
        """What a config would say, every default filled in."""
        return {"use": self.name, **self.settings.model_dump(mode="json")}


class _AsStep:
    """Reads ``NAME`` or ``{use: NAME, setting: value}``."""

    @staticmethod
    def _validate(value: Any, info: ValidationInfo) -> CleaningStep:
        if isinstance(value, CleaningStep):
            return value
        if isinstance(value, str):
            value = {"use": value}
        name = value.get("use") if isinstance(value, Mapping) else None
        if not isinstance(name, str):
            raise PydanticCustomError(
                "step_form",
                "expected the name of a cleaning step, or `{{use: NAME, setting: value}}`",
            )
        if name not in STEPS:
            hint = did_you_mean(name, STEPS) or f" (known: {', '.join(STEPS)})"
            reason = f"no such cleaning step: `{name}`{hint}"
            raise PydanticCustomError("step_unknown", "{reason}", {"reason": reason})
        settings = STEPS[name]
        known = list(settings.model_fields)
        rest = {key: item for key, item in value.items() if key != "use"}
        for key in rest:
            if key not in known:
                hint = did_you_mean(key, known) or f" (known: {', '.join(known) or 'none'})"
                reason = f"`{name}` has no setting `{key}`{hint}"
                raise PydanticCustomError("step_key", "{reason}", {"reason": reason})
        return CleaningStep(name, settings.model_validate(rest, context=info.context))

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(CleaningStep.to_config),
        )


class CleanSettings(Settings):
    """How texts are cleaned."""

    steps: tuple[Annotated[CleaningStep, _AsStep()], ...] = Field(
        min_length=1,
        max_length=100,
        description="in order: `NAME`, or `{use: NAME, setting: value}`",
    )


DEFAULT = """\
steps:
  - unicode
  - case
  - links
  - hash_signs
  - letters
  - spaces
  - minimal_letters
  - duplicates
  - near_duplicates
  - too_common
"""
"""What is done where no config is named (``configs/data/clean.yaml`` says the same)."""


def load_clean_settings(path: Path | None = None, overrides: Sequence[str] = ()) -> CleanSettings:
    """Read a cleaning config.

    Args:
        path: a YAML file; ``None``: ``DEFAULT``.
        overrides: ``KEY=VALUE`` each: ``steps.4.scripts=[russian]``, ``steps=[case, spaces]``.

    Raises:
        ConfigError: all mistakes, each with its place.
    """
    from engine.core.config.loader import load_settings

    if path is not None:
        return load_settings(CleanSettings, path, overrides)
    from engine.core.config.diagnostics import Diagnostic, Refused, config_error
    from engine.core.config.overrides import apply_overrides
    from engine.core.config.validation import validate
    from engine.core.config.yaml_reader import read_text
    from engine.core.registry import default_registry

    mistakes: list[Diagnostic] = []
    found = None
    try:
        root = apply_overrides(read_text(DEFAULT, "default", mistakes), overrides, mistakes)
        found = validate(CleanSettings, root, default_registry(), mistakes)
    except Refused as refused:
        mistakes.append(refused.diagnostic)
    if mistakes or found is None:
        raise config_error(mistakes, ["default"])
    return found
