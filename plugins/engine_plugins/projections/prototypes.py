"""Projections that are fitted in closed form on class prototypes, without a picture.

The prototypes P [C, W] (``classifier_head``, say) stand in the vision tower's own space. With
S = P'P / C = U diag(e) U' and its first J eigenvectors U, an image is ``x U e^-1/2`` and a
prototype becomes ``p U e^1/2``: their product is that of the original space. In the new one the
length of a class vector is the standard deviation of its products with all prototypes, so cosines
there compare scores that are standardised class by class. Without that, a class that resembles
everything wins too often (hubness: Radovanovic et al., 2010).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import Dataset, Projection, Teacher, VisionTower
from engine.core.fingerprint import check_point
from engine.errors import DataError
from engine_plugins.projections.settings import KernelRidgeSettings, WhitenedSettings

_TEXTS_AT_ONCE = 256

Matrix = NDArray[np.float64]


class Whitened(Projection):
    """[B, W] -> [B, J]: ``x U e^-1/2``, see the module."""

    settings: WhitenedSettings

    def __init__(
        self,
        settings: WhitenedSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        self.weight = nn.Parameter(torch.empty(out_width, in_width))
        nn.init.normal_(self.weight, std=in_width**-0.5)

    def fit(self, vision: VisionTower) -> str:
        """See the contract."""
        dataset = self.settings.of.create()
        vectors, values = _axes(_prototypes(dataset, vision), self.out_width, dataset.name)
        _fill(self.weight, (vectors / np.sqrt(values)).T)
        return f"the covariance of {dataset.name}"

    def project(self, features: Tensor) -> Tensor:
        """[B, W] -> [B, J]."""
        return functional.linear(features, self.weight)


class KernelRidge(Projection):
    """[B, D] in a teacher's text space -> [B, J]: ``k(x, anchors) @ coefficients``.

    The kernel is ``exp(gamma (cosine - 1))``; anchors are the teacher's vectors of the prototypes'
    names, and ``coefficients = (K + ridge I)^-1 Y`` with the prototypes Y in the space of
    :class:`Whitened`. Source: Hastie et al., The Elements of Statistical Learning, section 5.8.
    """

    settings: KernelRidgeSettings

    def __init__(
        self,
        settings: KernelRidgeSettings,
        in_width: int,
        out_width: int,
        *,
        embedding_width: int | None = None,
    ) -> None:
        super().__init__(settings, in_width, out_width, embedding_width=embedding_width)
        self.anchors = nn.Parameter(torch.empty(settings.anchors, in_width))
        self.coefficients = nn.Parameter(torch.empty(settings.anchors, out_width))
        nn.init.normal_(self.anchors)
        nn.init.normal_(self.coefficients, std=out_width**-0.5)

    def fit(self, vision: VisionTower) -> str:
        """See the contract."""
        settings, dataset = self.settings, self.settings.of.create()
        if len(dataset) != settings.anchors:
            raise DataError(
                f"kernel_ridge: `{dataset.name}` has {len(dataset):,} prototypes, `anchors` says"
                f" {settings.anchors:,}",
                hint=f"set `anchors: {len(dataset)}`",
            )
        prototypes = _prototypes(dataset, vision)
        vectors, values = _axes(prototypes, self.out_width, dataset.name)
        targets = prototypes @ (vectors * np.sqrt(values))
        anchors = _unit(_named(dataset, settings.teacher.create(), self.in_width))
        kernel = np.exp(settings.gamma * (anchors @ anchors.T - 1))
        kernel[np.diag_indices_from(kernel)] += settings.ridge
        _fill(self.anchors, anchors)
        _fill(self.coefficients, np.asarray(np.linalg.solve(kernel, targets), np.float64))
        return f"{dataset.name}, their names read by the teacher `{settings.teacher.name}`"

    def project(self, features: Tensor) -> Tensor:
        """[B, D] -> [B, J]."""
        own = functional.normalize(features, dim=-1)
        anchors = functional.normalize(self.anchors, dim=-1)  # storage may round them
        kernel = (self.settings.gamma * (own @ anchors.T - 1)).exp()
        return kernel @ self.coefficients


def _prototypes(dataset: Dataset, vision: VisionTower) -> Matrix:
    """[C, W] the vectors of all rows.

    Raises:
        DataError: the data set has none, or they are of another tower.
    """
    if dataset.activations is None:
        raise DataError(
            f"`{dataset.name}` has no activations, so it gives no prototypes",
            hint="use `classifier_head` or `activations`",
        )
    check_point(dataset.name, dataset.activations, vision)
    return np.stack([dataset.activation(i) for i in range(len(dataset))]).astype(np.float64)


def _axes(prototypes: Matrix, width: int, name: str) -> tuple[Matrix, Matrix]:
    """The first eigenvectors [W, J] of the prototypes' covariance, and its eigenvalues [J].

    Raises:
        DataError: the prototypes span fewer dimensions than the joint space has.
    """
    values, vectors = np.linalg.eigh(prototypes.T @ prototypes / len(prototypes))
    order = np.argsort(values)[::-1][:width]
    first = values[order]
    if len(first) < width or first[-1] <= 1e-9 * first[0]:
        rank = int((values > 1e-9 * values.max()).sum())
        raise DataError(
            f"`{name}` spans {rank} dimensions, and the joint space has {width}",
            hint=f"set `model.embed_dim` to {rank} or less",
        )
    # An eigenvector's sign is a choice of the library: the largest number is made positive.
    chosen = vectors[:, order]
    largest = np.abs(chosen).argmax(axis=0)
    return chosen * np.sign(chosen[largest, np.arange(width)]), first


def _named(dataset: Dataset, teacher: Teacher, width: int) -> Matrix:
    """[C, D] the teacher's mean vector of each row's texts, by their weights.

    Raises:
        DataError: a row has no text, or the teacher is of another width than the features.
    """
    if teacher.width != width:
        raise DataError(
            f"kernel_ridge: the teacher gives {teacher.width} numbers, the text encoder {width}",
            hint="give the text encoder the teacher's width, or take another teacher",
        )
    language = teacher.settings.language
    texts: dict[str, int] = {}
    places: list[tuple[int, int, float]] = []
    for row in range(len(dataset)):
        record = dataset.record(row)
        weights = record.text_weights or (1.0,) * len(record.queries)
        own = (tuple(zip(record.queries, weights, strict=True)) if language is None
               else record.texts_in(language))  # fmt: skip
        if not own:
            raise DataError(f"kernel_ridge: `{record.id}` of `{dataset.name}` has no text")
        places += [(row, texts.setdefault(text, len(texts)), weight) for text, weight in own]
    order = sorted(texts, key=len)
    vectors = np.empty((len(texts), width))
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        some = order[start : start + _TEXTS_AT_ONCE]
        vectors[[texts[text] for text in some]] = teacher.encode_texts(some)
    sums, counts = np.zeros((len(dataset), width)), np.zeros((len(dataset), 1))
    for row, place, weight in places:
        sums[row] += weight * vectors[place]
        counts[row] += weight
    return sums / counts


def _unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def _fill(parameter: nn.Parameter, values: Matrix) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)).to(parameter.dtype))
