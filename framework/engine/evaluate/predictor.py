"""Predictor: a built model, ready for pictures and class names.

import engine

m = engine.load("build/clip_openai")
m.classify(["a.jpg", "b.jpg"], ["кошка", "собака"])
# [[Answer(name='кошка', probability=0.93)], [Answer(name='собака', probability=0.88)]]
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from engine.contracts.dataset import Record
from engine.contracts.projection import project_state
from engine.contracts.state import State
from engine.contracts.tokenizer import Tokenizer
from engine.core.model import DualEncoder
from engine.data.pictures import Picture, problem_of, read_picture
from engine.data.pictures.cut import Pixels
from engine.errors import BrokenImageError, DataError
from engine.evaluate.alike import notes_of
from engine.evaluate.images import normalise, read_batches
from engine.evaluate.texts import encode_texts
from engine.evaluate.vectors import unit_rows, without_direction
from engine.evaluate.zero_shot import Probabilities, best, class_vectors

if TYPE_CHECKING:
    from engine.core.build import Built
    from engine.evaluate.features import Tower


class Answer(NamedTuple):
    """One class that an image may show, with its probability among the given classes (0..1)."""

    name: str
    probability: float


def load(path: str | Path) -> Predictor:
    """Read an artifact, ready for use.

    Large token tables stay in memory as they are stored (``engine.core.stored_tables``).

    Raises:
        ArtifactError: no artifact, or one that was changed since it was written.
        ConfigError: it uses plugins that are not installed here.
    """
    from engine.core.build import read_artifact

    return Predictor(read_artifact(Path(path), stored_tables=True))


class Predictor:
    """A model with its tokenizer and config: classifies and encodes.

    Attributes:
        model: the two towers, in eval mode.
        tokenizer: of the text encoder.
        config: the resolved config.
        manifest: the artifact's own account: where the weights came from, history, scores.
    """

    def __init__(self, built: Built) -> None:
        self.model: DualEncoder = built.model.eval()
        self.tokenizer: Tokenizer = built.tokenizer
        self.config = built.config
        self.manifest: dict[str, Any] = built.manifest

    @property
    def warnings(self) -> list[str]:
        """What a user must know before trusting the answers; empty for a model of real weights."""
        return random_weights(self.manifest)

    def classify(
        self,
        images: Iterable[Picture] | Picture,
        classes: Sequence[str],
        top: int = 1,
        *,
        batch_size: int = 16,
        probabilities: Probabilities = "softmax",
    ) -> list[list[Answer]]:
        """The most probable classes of each image.

        The vectors of the classes are computed at each call, from the weights, templates and
        tokenizer of that moment. To classify many times, make a :meth:`classifier` once.

        Args:
            images: pictures (or one picture).
            classes: names such as ``["кошка", "собака"]``, each once; the config's templates are
                put around them.
            top: how many answers an image, best first (all, where there are fewer classes).
            batch_size: images that run through the model at once.
            probabilities: see :data:`engine.evaluate.zero_shot.Probabilities`.

        Returns:
            One list of answers for each image, in order.

        Warns:
            UserWarning: classes that the model cannot tell apart; an image whose embedding is zero.

        Raises:
            DataError: no image, no class, a name twice, or something that is neither; an embedding
                that is not finite; classes that the model cannot tell apart at all; sigmoid
                probabilities of a model without a bias.
            BrokenImageError: an image is missing or does not decode; names every one of them.
        """
        self.check_probabilities(probabilities)
        return self._classifier(classes).classify(
            images, top, batch_size=batch_size, probabilities=probabilities
        )

    def classifier(self, classes: Sequence[str]) -> Classifier:
        """Compute the vectors of classes once, to classify many times.

        They are those of this moment: after a change of the weights, the templates or the
        tokenizer, make a new one.

        Warns:
            UserWarning: classes that the model cannot tell apart.

        Raises:
            DataError: no class, a name twice, or a name that is no text; a vector that is not
                finite; classes that the model cannot tell apart at all.
        """
        return self._classifier(classes)

    def _classifier(self, classes: Sequence[str]) -> Classifier:
        names = _check_classes(classes)
        vectors = self.class_vectors(names)
        for note in self.notes_of(names, vectors):
            warnings.warn(note, stacklevel=3)
        return Classifier(self, names, vectors)

    def class_vectors(self, names: Sequence[str]) -> Tensor:
        """[C] names -> [C, J] float32, rows of length 1, by the config's templates."""
        return class_vectors(names, self.config.zero_shot, self.encode_texts)

    def notes_of(self, names: Sequence[str], vectors: Tensor, *, refuse: bool = True) -> list[str]:
        """See :func:`engine.evaluate.alike.notes_of`; ``vectors`` are those of ``names``."""
        return notes_of(
            names, vectors, self.model, self.tokenizer, self.config.zero_shot, refuse=refuse
        )

    def encode_texts(self, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """[N] texts -> [N, J] float32, rows of length 1 (unless ``raw``). No templates.

        Raises:
            DataError: something else than a sequence of texts; an embedding that is not finite.
        """
        with evaluating(self.model):
            return encode_texts(self.model, self.tokenizer, _check_texts(texts), raw=raw)

    def encode_images(self, images: Iterable[Picture] | Picture, *, batch_size: int = 16) -> Tensor:
        """[N] pictures -> [N, J] float32, rows of length 1.

        Raises:
            DataError: no image, or something that is none; an embedding that is not finite.
            BrokenImageError: an image is missing or does not decode; names every one of them.
        """
        pictures = _Pictures(images)
        preprocess = self.model.vision.preprocess
        found, broken = [], []
        for batch in read_batches(pictures, preprocess, batch_size=batch_size):
            broken += batch.broken
            if not broken:
                names = [each.record.id for each in batch.read]
                found.append(self.encode_pixels([each.pixels for each in batch.read], names))
        if broken:
            shown = "\n".join(f"  {each.id}: {each.reason}" for each in broken[:8])
            more = f"\n  and {len(broken) - 8} more" if len(broken) > 8 else ""
            raise BrokenImageError(
                f"{len(broken)} of {len(pictures)} images cannot be read:\n{shown}{more}",
                hint="leave them out",
            )
        return torch.cat(found)

    def encode_pixels(
        self,
        pixels: Sequence[Pixels],
        names: Sequence[str] | None = None,
        tower: Tower | None = None,
    ) -> Tensor:
        """B pictures of ``images.square`` -> [B, J] float32 on the CPU, rows of length 1.

        Args:
            pixels: the pictures.
            names: of the pictures, for an error; ``None``: their places.
            tower: stands in for :meth:`vision_state` (``FeatureCache.tower``).

        Raises:
            DataError: an embedding is not finite.
        """
        with evaluating(self.model), torch.inference_mode():
            state = (tower or self.vision_state)(pixels)
            embedding = (
                project_state(self.model.vision_projection, state)["embedding"].float().cpu()
            )
            vectors = unit_rows(embedding, "image", lambda i: names[i] if names else str(i))
        return vectors.clone()  # an ordinary tensor: usable under autograd too

    def vision_state(self, pixels: Sequence[Pixels]) -> State:
        """B pictures of ``images.square`` -> what the vision tower gives, ``pooled`` [B, W]."""
        vision = self.model.vision
        dtype = next((p.dtype for p in vision.parameters() if p.is_floating_point()), None)
        batch = normalise(pixels, vision.preprocess).to(self.model.logit_scale.device, dtype)
        state: State = vision({"pixels": batch}, self.model.vision_projection.reads)
        return state

    @property
    def scale(self) -> float:
        """The factor on cosine similarities.

        Raises:
            DataError: it is not a positive number, so that probabilities would mean nothing.
        """
        exponent = self.model.logit_scale.detach().float()
        scale = float(exponent.exp())
        if not 0 < scale < math.inf:
            raise DataError(
                f"logit_scale is {float(exponent):.6g}: the factor on the cosines would be {scale}",
                hint="the model's weights have most likely diverged: train or import it again",
            )
        return scale

    @property
    def bias(self) -> float:
        """What is added to the scaled cosines; 0 where the model has no ``logit_bias``."""
        own = self.model.logit_bias
        return 0.0 if own is None else float(own.detach())

    def check_probabilities(self, probabilities: str) -> None:
        """Raise DataError for a name that there is not, or that this model has no numbers for."""
        if probabilities not in ("softmax", "sigmoid"):
            raise DataError(f"probabilities={probabilities!r}: expected `softmax` or `sigmoid`")
        if probabilities == "sigmoid" and self.model.logit_bias is None:
            raise DataError(
                f"{self.config.name} has no logit_bias, so it has no probability of a class by"
                " itself",
                hint="ask for `softmax`; or train with `model.logit_bias: -10` and the loss"
                " `sigmoid`",
            )

    def __repr__(self) -> str:
        return f"Predictor({self.config.name}, {self.model.embed_dim} wide)"


@dataclass(frozen=True)
class Classifier:
    """A predictor with classes whose vectors are computed.

    Attributes:
        predictor: encodes the images.
        classes: their names.
        vectors: [C, J] float32, rows of length 1.
    """

    predictor: Predictor
    classes: tuple[str, ...]
    vectors: Tensor

    def classify(
        self,
        images: Iterable[Picture] | Picture,
        top: int = 1,
        *,
        batch_size: int = 16,
        probabilities: Probabilities = "softmax",
    ) -> list[list[Answer]]:
        """As :meth:`Predictor.classify`."""
        self.predictor.check_probabilities(probabilities)
        if top < 1:
            raise DataError(f"top={top}: at least one answer an image must be asked for")
        vectors = self.predictor.encode_images(images, batch_size=batch_size)
        zero = without_direction(vectors)
        if zero:
            warnings.warn(
                f"image {zero[0]} has an embedding of zeros ({len(zero)} of {len(vectors)} images):"
                " the first class is the answer, whatever it shows",
                stacklevel=2,
            )
        found, indices = self.best(vectors, top, probabilities)
        return [
            [Answer(self.classes[i], p) for i, p in zip(row, chances, strict=True)]
            for row, chances in zip(indices.tolist(), found.tolist(), strict=True)
        ]

    def best(
        self, vectors: Tensor, top: int, probabilities: Probabilities = "softmax"
    ) -> tuple[Tensor, Tensor]:
        """[B, J] image vectors -> probabilities [B, k] and class indices [B, k], best first."""
        scale, bias = self.predictor.scale, self.predictor.bias
        return best(vectors, self.vectors, scale, top, bias=bias, probabilities=probabilities)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode while inside (no dropout, BatchNorm's kept statistics)."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def random_weights(manifest: dict[str, Any]) -> list[str]:
    """One warning for each part whose weights are random; empty once all were loaded or trained.

    A source that could not be reached is told permanently, training or not.
    """
    found = []
    for part, origin in manifest.get("weights", {}).items():
        if origin.get("initialised") != "random":
            continue
        if origin.get("reason"):
            found.append(f"{part}: RANDOM weights: {origin['reason']}")
        elif not manifest.get("stages"):
            found.append(f"{part}: RANDOM weights, never trained")
    return found


class _Pictures:
    """What a user gave as images, as rows to be read."""

    def __init__(self, images: Iterable[Picture] | Picture) -> None:
        one = isinstance(images, (Image.Image, str, os.PathLike, bytes, bytearray, memoryview))
        if isinstance(images, np.ndarray):
            one = images.ndim < 4
        if not one and not isinstance(images, Iterable):
            raise DataError(f"images are expected, not {type(images).__name__}", hint=_PICTURES)
        self.items: list[Any] = [images] if one else list(images)  # type: ignore[arg-type]
        if not self.items:
            raise DataError("the list of images is empty")
        for index, item in enumerate(self.items):
            problem = problem_of(item)
            if problem:
                raise DataError(f"image {index}: {problem}", hint=_PICTURES)

    def __len__(self) -> int:
        return len(self.items)

    def record(self, index: int) -> Record:
        item = self.items[index]
        return Record(str(item) if isinstance(item, (str, os.PathLike)) else f"image {index}")

    def image(self, index: int) -> Image.Image:
        return read_picture(self.items[index])


_PICTURES = (
    "an image is a path, the bytes of a file, a PIL.Image, or an array [H, W], [H, W, 3] or"
    " [H, W, 4] of uint8, uint16, bool or floats"
)


def _check_texts(texts: object, what: str = "texts") -> Sequence[str]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise DataError(
            f"{what} are expected as a list, not as {type(texts).__name__}",
            hint="write a list: ['кошка', 'собака']",
        )
    found = list(texts)
    for text in found:
        if not isinstance(text, str):
            raise DataError(f"{what}: {text!r} is a {type(text).__name__}, not a text")
    return found


def _check_classes(classes: object) -> tuple[str, ...]:
    names = tuple(_check_texts(classes, "class names"))
    if not names:
        raise DataError(
            "the list of classes is empty", hint="zero-shot classification needs class names"
        )
    blank = [i for i, name in enumerate(names) if not name.strip()]
    if blank:
        raise DataError(f"class name {blank[0]} is empty", hint="give every class a name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(
            f"class names are given twice: {', '.join(map(repr, twice[:5]))}",
            hint="each class once",
        )
    return names
