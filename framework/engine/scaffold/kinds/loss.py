"""A loss to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import LossSettings
from pydantic import Field


class ${class_name}Settings(LossSettings):
    """$title."""

    margin: float = Field(0.2, gt=0, description="by how much the right pair must be nearer")
'''

PLUGIN = '''\
"""`$name`: what training makes small.

Its contract: engine/contracts/training.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from engine.contracts import Loss
from torch import Tensor

from .settings import ${class_name}Settings


class $class_name(Loss):
    """$title.

    Source: Kiros et al., 2014, "Unifying Visual-Semantic Embeddings", arXiv:1411.2539.
    """

    reads: ClassVar[frozenset[str]] = frozenset({"image.embedding", "text.embedding"})
    settings: ${class_name}Settings

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean loss of a batch: rows of both embeddings have length 1."""
        # [N, N]; row i and column i belong together
        cosine = batch["image.embedding"] @ batch["text.embedding"].T
        right = cosine.diagonal()
        wrong = ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
        texts = (self.settings.margin + cosine - right[:, None]).relu()
        images = (self.settings.margin + cosine - right[None, :]).relu()
        return ((texts + images) * wrong).sum() / len(cosine)
'''

PACKAGE = PackageKind(
    file="loss",
    contract="Loss",
    contract_module="engine.contracts.training",
    summary="the right pair must be nearer than every wrong one, by a margin",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"loss": "{use: $name}"},
)
