"""`same_relations`: texts relate to each other as their images do.

Source: Park et al., 2019, "Relational Knowledge Distillation", arXiv:1904.05068.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from engine.contracts import Loss

from .settings import SameRelationsSettings


class SameRelations(Loss):
    """Mean square of the differences between the cosines among texts and those among images.

    A text is the mean of its hidden states over its tokens. Where a teacher is named, the cosines
    among its embeddings of the texts are compared with those among the texts too.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"image.pooled", "text.hidden", "text.mask"})
    settings: SameRelationsSettings

    def needed(self) -> frozenset[str]:
        """See the contract: the teacher's name is a setting."""
        name = self.settings.teacher
        return self.reads if name is None else self.reads | {f"teacher.{name}.text"}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        mask = batch["text.mask"].unsqueeze(2)
        texts = _cosines((batch["text.hidden"] * mask).sum(dim=1) / mask.sum(dim=1))
        loss = functional.mse_loss(texts, _cosines(batch["image.pooled"]))
        if self.settings.teacher is not None:
            target = _cosines(batch[f"teacher.{self.settings.teacher}.text"])
            loss = loss + functional.mse_loss(texts, target)
        return loss


def _cosines(rows: Tensor) -> Tensor:
    """[N, W] -> [N, N]."""
    unit = functional.normalize(rows, dim=1)
    return unit @ unit.T
