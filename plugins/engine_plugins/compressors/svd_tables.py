"""``svd_tables``: the token table becomes the product of two smaller ones.

Source: Lan et al., 2019, arXiv:1909.11942 (ALBERT), there from the beginning; here of a trained
table, by its singular vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts
from engine.errors import ConfigError
from engine_plugins.compressors.settings import SvdTablesSettings

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = ".rows.weight"


class SvdTables(Compressor):
    """Keeps ``rank`` numbers of each token; a row is looked up and multiplied by a small matrix."""

    settings: SvdTablesSettings
    needs_training: ClassVar[bool] = True

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """A quarter of the width, where the text encoder can have factors and has none."""
        width = getattr(model.text, "width", 0)
        whole = getattr(model.text, "table_rank", width) is None
        return [{"rank": width // 4}] if whole and width >= 8 else []

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """Sets ``text.table_rank``.

        Raises:
            ConfigError: the rows of the table are narrower.
        """
        text, rank = model.text, self.settings.rank
        width = getattr(text, "width", None)
        if not isinstance(width, int) or not hasattr(text, "table_rank"):
            return None
        if rank > width:
            raise ConfigError(f"rank {rank} is more than the width {width} of the token table")
        whole = text.vocab_size * width
        if text.table_rank is not None or (text.vocab_size + width) * rank >= whole:
            return None
        return CompressionStep(
            {"text.table_rank": rank},
            f"{rank} of {width} numbers of each token stay, and a matrix that widens them",
            details={"rank": rank, "of": width},
            work=rank,
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The factors of every table that the smaller model has in two."""
        from engine_plugins.text.token_tables import with_factors

        made = dict(tensors)
        for name in shapes:
            if name.endswith(_ROWS):
                made = with_factors(made, name.removesuffix(_ROWS), step.work)
        return made
