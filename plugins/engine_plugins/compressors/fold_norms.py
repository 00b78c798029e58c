"""``fold_norms``: batch norms go into the convolutions before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from engine.contracts.compressor import CompressionStep, Compressor, ModelFacts

if TYPE_CHECKING:
    from torch import Tensor


class FoldNorms(Compressor):
    """Leaves of each batch norm of the vision tower a bias: three of four numbers go."""

    same_function: ClassVar[bool] = True

    @classmethod
    def candidates(cls, model: ModelFacts) -> Sequence[Mapping[str, Any]]:
        """For towers that can."""
        return [{}] if model.vision.foldable_norms is not None else []

    def plan(self, model: ModelFacts) -> CompressionStep | None:
        """Sets ``vision.fold_norms``."""
        eps = model.vision.foldable_norms
        if eps is None:
            return None
        return CompressionStep(
            {"vision.fold_norms": True},
            "the batch norms of the vision tower are folded into its convolutions",
            work=eps,
        )

    def apply(
        self,
        step: CompressionStep,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> dict[str, Tensor]:
        """The convolutions times the factors of their batch norms."""
        from engine_plugins.vision.folding import folded_tensors

        vision = {name: t for name, t in tensors.items() if name.startswith("vision.")}
        rest = {name: t for name, t in tensors.items() if name not in vision}
        return folded_tensors(vision, step.work) | rest
