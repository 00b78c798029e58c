"""Losses over pairs of an image and a text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Loss
from engine_plugins.losses.settings import ContrastiveSettings, SigmoidSettings

_PAIRS = frozenset({"image.embedding", "text.embedding", "scale"})


class Contrastive(Loss):
    """Symmetric cross-entropy: each image among all texts, each text among all images.

    ``(ce(s X Y') + ce(s Y X')) / 2`` with X, Y [N, J] of unit rows and s the learned scale.
    Source: CLIP (Radford et al., 2021, arXiv:2103.00020, figure 3).

    With ``equal_texts: masked``, a text that equals the right one is left out of the wrong ones.
    Where the data give weights of their rows, the mean over rows is the weighted one.
    """

    reads: ClassVar[frozenset[str]] = _PAIRS
    reads_if_given: ClassVar[frozenset[str]] = frozenset({"pair.weight"})
    by_rows: ClassVar[bool] = True
    settings: ContrastiveSettings

    def needed(self) -> frozenset[str]:
        """See the contract: ``text.id`` is read where equal texts are masked."""
        return self.reads | _text_ids(self.settings.equal_texts)

    def chance(self, rows: int) -> float | None:
        """See the contract: ln N, all rows equally likely; less by an unknown count if masked."""
        return None if self.settings.equal_texts == "masked" else math.log(rows)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T
        if self.settings.equal_texts == "masked":
            return self._counted(logits, _equal(batch["text.id"]), batch.get("pair.weight"))
        if "pair.weight" in batch:
            none = torch.zeros_like(logits, dtype=torch.bool)
            return self._counted(logits, none, batch["pair.weight"])
        right = torch.arange(len(logits), device=logits.device)
        smoothing = self.settings.smoothing
        images = functional.cross_entropy(logits, right, label_smoothing=smoothing)
        texts = functional.cross_entropy(logits.T, right, label_smoothing=smoothing)
        return (images + texts) / 2

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        """See the contract: own images among all texts, own texts among all images."""
        images, texts = batch["image.embedding"], batch["text.embedding"]
        masked = None
        if self.settings.equal_texts == "masked":
            masked = _equal(batch["text.id"], own)
        weight = batch.get("pair.weight")
        found = [
            _cross_entropy_part(
                batch["scale"] * rows[own] @ columns.T, masked, weight, own, self.settings.smoothing
            )
            for rows, columns in ((images, texts), (texts, images))
        ]
        return (found[0] + found[1]) / 2

    def _counted(self, logits: Tensor, masked: Tensor, weight: Tensor | None) -> Tensor:
        """The loss where not every pair counts, or not every row the same."""
        smoothing = self.settings.smoothing
        images = _cross_entropy(logits, masked, weight, smoothing)
        texts = _cross_entropy(logits.T, masked.T, weight, smoothing)
        return (images + texts) / 2


class Sigmoid(Loss):
    """Every image with every text: a yes or no question, ``-sum log sigmoid(z (s x.y + b)) / N``.

    z is 1 on the diagonal and -1 elsewhere; the bias b is learned. It is the model's, where the
    model has one (``model.logit_bias``), and then it is saved with the model; else the loss's own.
    Begin with a ``logit_scale`` of ln 10, as the authors do.
    Source: SigLIP (Zhai et al., 2023, arXiv:2303.15343, algorithm 1).

    With ``equal_texts: masked``, an image is not asked about other texts that equal its own. Where
    the data give weights of their rows, a pair counts by the mean of its two weights, and N is the
    sum of all weights.
    """

    reads: ClassVar[frozenset[str]] = _PAIRS
    reads_if_given: ClassVar[frozenset[str]] = frozenset({"pair.weight", "bias"})
    by_rows: ClassVar[bool] = True
    settings: SigmoidSettings

    def __init__(self, settings: SigmoidSettings) -> None:
        super().__init__(settings)
        self.bias = nn.Parameter(torch.tensor(float(settings.bias)))

    def needed(self) -> frozenset[str]:
        """See the contract: ``text.id`` is read where equal texts are masked."""
        return self.reads | _text_ids(self.settings.equal_texts)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        bias = batch.get("bias", self.bias)
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T + bias
        right = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
        terms, rows = functional.logsigmoid(right * logits), float(len(logits))
        if self.settings.equal_texts == "masked":
            terms = terms.masked_fill(_equal(batch["text.id"]), 0)
        if "pair.weight" not in batch:
            return -terms.sum() / rows
        weight = batch["pair.weight"]
        both = (weight[:, None] + weight[None, :]) / 2
        return -(both * terms).sum() / _least(weight.sum())

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        """See the contract: own images with all texts."""
        bias = batch.get("bias", self.bias)
        images, texts = batch["image.embedding"], batch["text.embedding"]
        logits = batch["scale"] * images[own] @ texts.T + bias
        right = 2 * _own_columns(len(texts), own, logits.device).to(logits.dtype) - 1
        terms = functional.logsigmoid(right * logits)
        if self.settings.equal_texts == "masked":
            terms = terms.masked_fill(_equal(batch["text.id"], own), 0)
        if "pair.weight" not in batch:
            return -terms.sum() / float(len(texts))
        weight = batch["pair.weight"]
        both = (weight[own][:, None] + weight[None, :]) / 2
        return -(both * terms).sum() / _least(weight.sum())


def _text_ids(equal_texts: str) -> frozenset[str]:
    return frozenset({"text.id"}) if equal_texts == "masked" else frozenset()


def _own_columns(count: int, own: slice, device: torch.device) -> Tensor:
    """[R, N] bool: True in the column of each row; R rows of N, those of ``own``."""
    places = torch.arange(count, device=device)
    return places[own][:, None] == places[None, :]


def _equal(ids: Tensor, own: slice = slice(None)) -> Tensor:
    """[N] -> [R, N] bool: pairs of different rows whose texts are equal, of R rows with all N."""
    equal = ids[own][:, None] == ids[None, :]
    return equal & ~_own_columns(len(ids), own, ids.device)


def _cross_entropy(
    logits: Tensor, masked: Tensor, weight: Tensor | None, smoothing: float
) -> Tensor:
    """Cross-entropy of each row's own column, the mean over rows.

    Args:
        logits: [N, N].
        masked: [N, N] bool, True where a column does not count for a row.
        weight: [N], of the rows; ``None``: all the same.
        smoothing: share of the target that is spread over the columns that count.
    """
    chances = logits.masked_fill(masked, -torch.inf).log_softmax(dim=1)
    spread = chances.masked_fill(masked, 0).sum(dim=1) / (~masked).sum(dim=1)
    rows = -(1 - smoothing) * chances.diagonal() - smoothing * spread
    return rows.mean() if weight is None else (weight * rows).sum() / _least(weight.sum())


def _cross_entropy_part(
    logits: Tensor, masked: Tensor | None, weight: Tensor | None, own: slice, smoothing: float
) -> Tensor:
    """The terms of some rows of :func:`_cross_entropy`, as they stand in the mean over all.

    Args:
        logits: [R, N], of R rows of N.
        masked: [R, N] bool, or ``None``.
        weight: [N], of all rows, or ``None``.
        own: the rows.
        smoothing: see :func:`_cross_entropy`.
    """
    count = logits.shape[1]
    right = _own_columns(count, own, logits.device)
    left_out = torch.zeros_like(right) if masked is None else masked
    chances = logits.masked_fill(left_out, -torch.inf).log_softmax(dim=1)
    spread = chances.masked_fill(left_out, 0).sum(dim=1) / (~left_out).sum(dim=1)
    chosen = chances.masked_fill(~right, 0).sum(dim=1)
    rows = -(1 - smoothing) * chosen - smoothing * spread
    if weight is None:
        return rows.sum() / count
    return (weight[own] * rows).sum() / _least(weight.sum())


def _least(total: Tensor) -> Tensor:
    """A sum of weights to divide by; where all are 0, so is what is divided."""
    return total.clamp(min=torch.finfo(total.dtype).tiny)
