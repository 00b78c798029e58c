"""Losses that read a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Loss
from engine.errors import ConfigError
from engine_plugins.losses.settings import (
    AffinitySettings,
    DistillSettings,
    TeacherLogitsSettings,
)

_WEIGHT = frozenset({"pair.weight"})


def weighted_mean(terms: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """[N] -> the mean; by ``pair.weight`` where the data give weights."""
    weight = batch.get("pair.weight")
    if weight is None:
        return terms.mean()
    return (weight * terms).sum() / weight.sum().clamp(min=torch.finfo(terms.dtype).tiny)


def weighted_part(terms: Tensor, batch: Mapping[str, Tensor], own: slice, rows: int) -> Tensor:
    """[R] terms of some rows -> what they give to the mean over all ``rows``."""
    weight = batch.get("pair.weight")
    if weight is None:
        return terms.sum() / rows
    total = weight.sum().clamp(min=torch.finfo(terms.dtype).tiny)
    return (weight[own] * terms).sum() / total


class Distill(Loss):
    """An output of the model is to equal a teacher's: ``1 - cosine``, or the mean squared error.

    Where the widths differ, ``map: [own, teacher's]`` learns a matrix from one to the other. It is
    a part of the loss, so it is left behind when training ends.

    Sources: Hinton et al., 2015 (arXiv:1503.02531); over languages Reimers and Gurevych, 2020
    (arXiv:2004.09813).
    """

    settings: DistillSettings
    reads_if_given = _WEIGHT

    def __init__(self, settings: DistillSettings) -> None:
        super().__init__(settings)
        modality = settings.of.partition(".")[0]
        self._target = f"teacher.{settings.teacher}.{settings.from_ or modality}"
        self.map = nn.Linear(*settings.map, bias=False) if settings.map else None

    def needed(self) -> frozenset[str]:
        """See the contract."""
        return frozenset({self.settings.of, self._target})

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        own, target = batch[self.settings.of], batch[self._target]
        if self.map is not None and own.shape[1] == self.map.in_features:
            own = self.map(own)
        if own.shape != target.shape:
            raise ConfigError(
                f"the loss `distill` compares `{self.settings.of}`, {own.shape[1]} wide, with"
                f" `{self._target}`, {target.shape[1]} wide",
                hint=f"set `map: [{batch[self.settings.of].shape[1]}, {target.shape[1]}]`, or the"
                " width of the model's part",
            )
        if self.settings.compare == "mse":
            return weighted_mean((own - target).square().mean(dim=1), batch)
        return weighted_mean(1 - functional.cosine_similarity(own, target, dim=1), batch)


class Affinity(Loss):
    """The model likens images and texts of a batch to each other as the teacher does.

    The mean of two cross-entropies: the teacher's softmax over all texts is the target of the
    model's, image by image, and the same text by text. Source: TinyCLIP's affinity mimicking (Wu et
    al., 2023, arXiv:2309.12314, equation 4).
    """

    settings: AffinitySettings
    reads_if_given = _WEIGHT
    by_rows: ClassVar[bool] = True

    def needed(self) -> frozenset[str]:
        """See the contract."""
        teacher = f"teacher.{self.settings.teacher}"
        return frozenset(
            {"image.embedding", "text.embedding", "scale", f"{teacher}.image", f"{teacher}.text"}
        )

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        teacher = f"teacher.{self.settings.teacher}"
        images, texts = (
            functional.normalize(batch[f"{teacher}.{modality}"], dim=-1)
            for modality in ("image", "text")
        )
        targets = self.settings.teacher_scale * images @ texts.T
        logits = batch["scale"] * batch["image.embedding"] @ batch["text.embedding"].T
        by_image = _soft_cross_entropy(logits, targets)
        by_text = _soft_cross_entropy(logits.T, targets.T)
        return weighted_mean((by_image + by_text) / 2, batch)

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        """See the contract: own images among all texts, own texts among all images."""
        teacher = f"teacher.{self.settings.teacher}"
        images, texts = (
            functional.normalize(batch[f"{teacher}.{modality}"], dim=-1)
            for modality in ("image", "text")
        )
        own_images, own_texts = batch["image.embedding"], batch["text.embedding"]
        terms = [
            _soft_cross_entropy(
                batch["scale"] * rows[own] @ columns.T,
                self.settings.teacher_scale * right[own] @ others.T,
            )
            for rows, columns, right, others in (
                (own_images, own_texts, images, texts),
                (own_texts, own_images, texts, images),
            )
        ]
        return weighted_part((terms[0] + terms[1]) / 2, batch, own, len(images))


class TeacherLogits(Loss):
    """Texts of the model, compared with the teacher's vectors, give the teacher's own logits.

    The model's text embeddings stand in the teacher's space: ``scale * text . teacher`` over the
    batch against ``teacher_scale * teacher's text . teacher``, as a cross-entropy of softmaxes. It
    needs no image where it compares with the teacher's texts. Source: the interactive logits of
    CLIP-KD (Yang et al., 2024, arXiv:2307.12732, section 3.4) with soft targets.
    """

    settings: TeacherLogitsSettings
    reads_if_given = _WEIGHT
    by_rows: ClassVar[bool] = True

    def needed(self) -> frozenset[str]:
        """See the contract."""
        teacher = f"teacher.{self.settings.teacher}"
        against = f"{teacher}.{self.settings.against}"
        return frozenset({"text.embedding", "scale", f"{teacher}.text", against})

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See the contract."""
        everything = slice(None)
        return weighted_mean(self._terms(batch, everything), batch)

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        """See the contract: own texts among all vectors of the teacher."""
        return weighted_part(self._terms(batch, own), batch, own, len(batch["text.embedding"]))

    def _terms(self, batch: Mapping[str, Tensor], rows: slice) -> Tensor:
        """The loss of each of some rows."""
        teacher = f"teacher.{self.settings.teacher}"
        own = batch["text.embedding"][rows]
        right = functional.normalize(batch[f"{teacher}.text"][rows], dim=-1)
        others = functional.normalize(batch[f"{teacher}.{self.settings.against}"], dim=-1)
        if own.shape[1] != others.shape[1]:
            raise ConfigError(
                f"the loss `teacher_logits` compares `text.embedding`, {own.shape[1]} wide, with"
                f" vectors of `{teacher}`, {others.shape[1]} wide",
                hint=f"set `model.embed_dim: {others.shape[1]}`",
            )
        logits = batch["scale"] * own @ others.T
        targets = self.settings.teacher_scale * right @ others.T
        return _soft_cross_entropy(logits, targets)


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """[N, M] logits of the model and of the teacher -> [N]."""
    return -(targets.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)
