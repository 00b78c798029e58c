"""What a plugin of this kind promises."""

from __future__ import annotations

from engine.testing.core import Rule
from engine.testing.subject import Subject


class SUBJECT(Subject):
    """A plugin of this kind."""

    contract = "engine.contracts.training.Sampler"
    settings_base = "engine.contracts.training_settings.SamplerSettings"


RULES: tuple[Rule, ...] = ()
