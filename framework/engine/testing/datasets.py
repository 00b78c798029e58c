"""What a plugin of this kind promises."""

from __future__ import annotations

from engine.testing.core import Rule
from engine.testing.subject import Subject


class SUBJECT(Subject):
    """A plugin of this kind."""

    contract = "engine.contracts.dataset.Dataset"
    settings_base = "engine.contracts.settings.DatasetSettings"


RULES: tuple[Rule, ...] = ()
