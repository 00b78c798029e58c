"""Settings of projections. Nothing here imports torch."""

from __future__ import annotations

from engine.contracts.plan import Plan
from engine.contracts.settings import Settings


class ProjectionSettings(Settings):
    """Base of every projection's settings."""

    def plan(self, in_width: int, out_width: int, embedding_width: int | None) -> Plan | None:
        """The projection's tensors, where they follow from settings and widths."""
        return None

    def cluster_count(self) -> int | None:
        """Of how many clusters its router chooses; ``None`` where it has none."""
        return None
