"""A logger that writes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from engine.contracts import Logger, RunInfo


class Quiet(Logger):
    """Receives everything, tells nobody."""

    def start(self, run: RunInfo) -> None:
        """See the contract."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
