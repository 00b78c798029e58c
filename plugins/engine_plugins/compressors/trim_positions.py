"""``trim_positions``: rows of the position table that no text reaches are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.errors import ConfigError
from engine_plugins.compressors.settings import TrimPositionsSettings

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = "n_positions"
"""The setting of text encoders whose table may be longer than their texts."""


class TrimPositions(Compressor):
    """Cuts the position table to ``max_tokens`` rows."""

    settings: TrimPositionsSettings

    @property
    def lossless(self) -> str | None:
        """Texts that are not cut: all of them, unless ``max_tokens`` gets smaller."""
        most = self.settings.max_tokens
        return "every text" if most is None else f"texts of at most {most} tokens"

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """Only what no text can reach."""
        return [{}]

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """As many positions as tokens.

        Raises:
            ConfigError: ``max_tokens`` is more than the model's.
        """
        had = model.text.max_tokens
        most = self.settings.max_tokens or had
        if most > had:
            raise ConfigError(
                f"max_tokens {most} is more than the {had} of the model",
                hint=f"give at most {had}",
            )
        rows: int = getattr(model.text, _ROWS, had)
        extra = getattr(model.text, "position_offset", 0)
        if rows <= most + extra:
            return None
        changes: dict[str, Any] = {"text.max_tokens": most} if most != had else {}
        if hasattr(model.text, _ROWS):
            changes[f"text.{_ROWS}"] = most + extra
        return CompressionStep(
            changes,
            f"{most + extra} of {rows} positions stay: a text has at most {most} tokens",
            details={"kept": most + extra, "of": rows},
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The first rows of every tensor that got shorter."""
        made = dict(tensors)
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != tuple(shapes[name]):
                made[name] = tensor[tuple(slice(0, size) for size in shapes[name])].clone()
        return made
