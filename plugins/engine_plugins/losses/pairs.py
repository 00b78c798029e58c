"""Losses over pairs of an image and a text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Loss, State
from engine_plugins.losses.settings import ContrastiveSettings, SigmoidSettings


class Contrastive(Loss):
    """Symmetric cross-entropy: each image among all texts, each text among all images.

    ``(ce(s X Y') + ce(s Y X')) / 2`` with X, Y [N, J] of unit rows and s the learned scale.
    Source: CLIP (Radford et al., 2021, arXiv:2103.00020, figure 3).
    """

    settings: ContrastiveSettings

    def forward(self, batch: State) -> Tensor:
        """See the contract."""
        logits = batch["scale"] * batch["image"] @ batch["text"].T
        right = torch.arange(len(logits), device=logits.device)
        smoothing = self.settings.smoothing
        images = functional.cross_entropy(logits, right, label_smoothing=smoothing)
        texts = functional.cross_entropy(logits.T, right, label_smoothing=smoothing)
        return (images + texts) / 2


class Sigmoid(Loss):
    """Every image with every text: a yes or no question, ``-sum log sigmoid(z (s x.y + b)) / N``.

    z is 1 on the diagonal and -1 elsewhere; the bias b is learned. Begin with a ``logit_scale`` of
    ln 10, as the authors do.
    Source: SigLIP (Zhai et al., 2023, arXiv:2303.15343, algorithm 1).
    """

    def __init__(self, settings: SigmoidSettings) -> None:
        super().__init__(settings)
        self.bias = nn.Parameter(torch.tensor(float(settings.bias)))

    def forward(self, batch: State) -> Tensor:
        """See the contract."""
        logits = batch["scale"] * batch["image"] @ batch["text"].T + self.bias
        right = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
        return -functional.logsigmoid(right * logits).sum() / len(logits)
