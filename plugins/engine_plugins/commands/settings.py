"""Settings of the built-in commands: they have none."""

from __future__ import annotations

from engine.contracts.settings import Settings


class CommandSettings(Settings):
    """A command reads its options from the command line."""
