"""Checkpoint adapters: checkpoints of other programs, read by the names of their tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from torch import Tensor

from engine.contracts.description import Description
from engine.contracts.settings import Settings


class CheckpointAdapter(ABC):
    """Renames the tensors of a foreign checkpoint to those of Engine's model.

    Engine's names: ``vision.<tower's own>``, ``text.<tower's own>``, ``vision_projection.<own>``,
    ``text_projection.<own>`` and ``logit_scale``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def matches(self, keys: Collection[str]) -> bool:
        """Whether a checkpoint with these names is of this layout. No two layouts match one."""

    @abstractmethod
    def rename(self, key: str) -> str | None:
        """Engine's name for a tensor, or ``None`` for one that is no weight (a stored mask, say).

        A name that the model does not know is reported to the user, so pass unknown ones through.
        """

    def describe(self, tensors: Mapping[str, Tensor]) -> dict[str, Description]:
        """What the tensors say themselves of each tower's settings (default: nothing).

        Args:
            tensors: the checkpoint under its own names.

        Returns:
            Descriptions by ``"vision"`` and ``"text"``.
        """
        return {}
