"""Zero-shot classification: class names become vectors, the nearest one answers.

Source: CLIP (Radford et al., 2021, arXiv:2103.00020, section 3.1); the mean over raw vectors is
ruCLIP's (package ruclip 0.0.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from engine.core.config.schema import ZeroShotSettings
from engine.errors import DataError
from engine.evaluate.vectors import unit_rows

Probabilities = Literal["softmax", "sigmoid"]
"""``softmax``: among the given classes, adding up to 1. ``sigmoid``: of each class by itself, so
that an image may show several or none of them (SigLIP, Zhai et al., 2023, arXiv:2303.15343)."""


class EncodeTexts(Protocol):
    """Texts -> [N, J] float32; of length 1 unless ``raw``."""

    def __call__(self, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """[N] texts -> [N, embed_dim] float32; rows of length 1 unless ``raw``."""


def prompts(names: Sequence[str], settings: ZeroShotSettings) -> list[str]:
    """Every class name in every template, class by class."""
    if settings.lower:
        names = [name.lower().strip() for name in names]
    return [template.replace("{}", name) for name in names for template in settings.templates]


def class_vectors(
    names: Sequence[str], settings: ZeroShotSettings, encode_texts: EncodeTexts
) -> Tensor:
    """Class names -> [C, J] float32, rows of length 1.

    Raises:
        DataError: there is no class name, or a class's vector is not finite.
    """
    if not names:
        raise DataError(
            "the list of classes is empty", hint="zero-shot classification needs class names"
        )
    raw = settings.average == "raw"
    vectors = encode_texts(prompts(names, settings), raw=raw)
    vectors = vectors.reshape(len(names), len(settings.templates), -1).mean(dim=1)
    return unit_rows(vectors, "class", lambda i: names[i])


def best(
    images: Tensor,
    classes: Tensor,
    scale: float,
    top: int,
    *,
    bias: float = 0.0,
    probabilities: Probabilities = "softmax",
) -> tuple[Tensor, Tensor]:
    """The best classes of each image.

    Args:
        images: [B, J], rows of length 1.
        classes: [C, J], rows of length 1.
        scale: factor on the cosines, ``exp(logit_scale)``.
        top: how many classes; at most C are given.
        bias: what is added to the scaled cosines, ``logit_bias``.
        probabilities: see :data:`Probabilities`.

    Returns:
        Probabilities [B, k] float32, and class indices [B, k] int64, best first; equal scores in
        the order of the classes, so that the first is ``argmax``.
    """
    logits = scale * images @ classes.T
    # Sorted before the softmax, which makes all of the unlikely equal to 0.
    indices = torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, :top]
    if probabilities == "sigmoid":
        return (logits + bias).sigmoid().gather(1, indices), indices
    return logits.softmax(dim=-1).gather(1, indices), indices  # a bias would change nothing
