"""Predictor: a built model, ready for pictures and class names.

import engine

m = engine.load("build/clip_openai")
m.classify(["a.jpg", "b.jpg"], ["кошка", "собака"])
# [[Answer(index=0, name='кошка', probability=0.93)],
#  [Answer(index=1, name='собака', probability=0.88)]]
m.encode_images("a.jpg") @ m.encode_texts(["рыжий кот"]).T  # cosines [1, 1]
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.contracts.preprocess import Pixels, to_batch
from engine.contracts.projection import project_state
from engine.contracts.state import State
from engine.contracts.tokenizer import Tokenizer
from engine.core.devices import find_device
from engine.core.model import DualEncoder
from engine.data.pictures import Picture
from engine.errors import DataError
from engine.evaluate.alike import notes_of
from engine.evaluate.answers import Answer, ImageAnswers
from engine.evaluate.images import read_batches
from engine.evaluate.inputs import Pictures, check_classes, check_texts, refuse_broken
from engine.evaluate.texts import encode_texts
from engine.evaluate.vectors import unit_rows, without_direction
from engine.evaluate.zero_shot import Probabilities, best, class_vectors
from engine.printable import visible

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from engine.core.build import Built

Tower = Callable[[Sequence[Pixels]], State]
"""B pictures of ``to_pixels`` -> a state with ``pooled`` [B, W]."""


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
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.logit_scale.device

    def to(self, device: str | torch.device) -> Predictor:
        """Move the model to another device; the same predictor is given back.

        Raises:
            DataError: this PyTorch finds no such device, or the backend computes on the CPU only.
        """
        target = find_device(device)
        if self.backend == "onnxruntime" and target.type != "cpu":
            raise DataError(
                f"device `{target}`: the backend onnxruntime computes on the CPU here",
                hint="leave out the device, or load the artifact with the backend `torch`",
            )
        self.model.to(target)
        return self

    @property
    def backend(self) -> str:
        """What computes: ``torch``, or ``onnxruntime`` for an export."""
        return "onnxruntime" if self.manifest.get("to") == "onnx" else "torch"

    @property
    def num_parameters(self) -> int:
        """Of the whole model; an export has those of the model that it came from."""
        known = self.manifest.get("num_parameters") if self.backend == "onnxruntime" else None
        return known or sum(p.numel() for p in self.model.parameters())

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
    ) -> ImageAnswers:
        """The most probable classes of each image.

        The vectors of the classes are computed at each call, from the weights, templates and
        tokenizer of that moment. To classify many times, make a :meth:`classifier` once.

        Args:
            images: pictures (or one picture): paths, bytes of files, open files, Pillow images
                or arrays.
            classes: names such as ``["кошка", "собака"]``, each once; the config's templates are
                put around them.
            top: how many answers an image, best first (all, where there are fewer classes).
            batch_size: images that run through the model at once.
            probabilities: see :data:`engine.evaluate.zero_shot.Probabilities`.

        Returns:
            One list of :class:`Answer` for each image, in order.

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
            DataError: no class, a name twice, or a name that is not text; a vector that is not
                finite; classes that the model cannot tell apart at all.
        """
        return self._classifier(classes)

    def _classifier(self, classes: Sequence[str]) -> Classifier:
        names = check_classes(classes)
        vectors = self.class_vectors(names)
        for note in self.notes_of(names, vectors):
            warnings.warn(note, stacklevel=3)
        return Classifier(self, names, vectors)

    def class_vectors(self, names: Sequence[str]) -> Tensor:
        """[C] names -> [C, J] float32, rows of length 1, by the config's templates."""
        return class_vectors(names, self.config.zero_shot, self.text_vectors)

    def notes_of(self, names: Sequence[str], vectors: Tensor, *, refuse: bool = True) -> list[str]:
        """See :func:`engine.evaluate.alike.notes_of`; ``vectors`` are those of ``names``."""
        return notes_of(
            names, vectors, self.model, self.tokenizer, self.config.zero_shot, refuse=refuse
        )

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[N] texts -> [N, embed_dim] float32, rows of length 1. No templates.

        Raises:
            DataError: something else than a sequence of texts; an embedding that is not finite.
        """
        return self.text_vectors(texts).numpy()

    def encode_images(
        self, images: Iterable[Picture] | Picture, *, batch_size: int = 16
    ) -> NDArray[np.float32]:
        """[N] pictures -> [N, embed_dim] float32, rows of length 1.

        Args:
            images: as for :meth:`classify`; one picture gives [1, embed_dim].
            batch_size: images that run through the model at once.

        Raises:
            DataError: no image, or something that is not one; an embedding that is not finite.
            BrokenImageError: an image is missing or does not decode; names every one of them.
        """
        return self.image_vectors(images, batch_size=batch_size).numpy()

    def text_vectors(self, texts: Sequence[str], *, raw: bool = False) -> Tensor:
        """:meth:`encode_texts` as a tensor on the CPU; ``raw``: rows of any length."""
        with evaluating(self.model):
            return encode_texts(self.model, self.tokenizer, check_texts(texts), raw=raw)

    def image_vectors(self, images: Iterable[Picture] | Picture, *, batch_size: int = 16) -> Tensor:
        """:meth:`encode_images` as a tensor on the CPU."""
        pictures = Pictures(images)
        preprocess = self.model.vision.preprocess
        found, broken = [], []
        for batch in read_batches(pictures, preprocess, batch_size=batch_size):
            broken += batch.broken
            if not broken:
                names = [each.record.id for each in batch.read]
                found.append(self.encode_pixels([each.pixels for each in batch.read], names))
        refuse_broken(broken, len(pictures))
        return torch.cat(found)

    def encode_pixels(
        self,
        pixels: Sequence[Pixels],
        names: Sequence[str] | None = None,
        tower: Tower | None = None,
    ) -> Tensor:
        """B pictures of ``to_pixels`` -> [B, J] float32 on the CPU, rows of length 1.

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
        """B pictures of ``to_pixels`` -> what the vision tower gives, ``pooled`` [B, W]."""
        vision = self.model.vision
        dtype = next((p.dtype for p in vision.parameters() if p.is_floating_point()), None)
        batch = to_batch(pixels, vision.preprocess, self.model.logit_scale.device)
        state: State = vision({"pixels": batch.to(dtype)}, self.model.vision_projection.reads)
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

    def as_sentence_transformer(self) -> SentenceTransformer:
        """The model as a ``sentence_transformers.SentenceTransformer``, in memory.

        Its ``encode`` takes texts or pictures and gives what :meth:`encode_texts` and
        :meth:`encode_images` give; MTEB and whatever else takes such a model takes it. Weights are
        shared, not copied.
        """
        from engine.evaluate.sentence_module import sentence_transformer

        return sentence_transformer(self.model, self.tokenizer)

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
        return f"Predictor({', '.join(text for _, text in self._facts())})"

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(visible(text))}</td></tr>"
            for name, text in self._facts()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        """What a person wants to know of the model, in short."""
        towers = self.config.model
        found = [
            ("name", self.config.name),
            ("embedding", f"embed_dim={self.model.embed_dim}"),
            ("towers", f"vision={towers.vision.name}, text={towers.text.name}"),
            ("parameters", f"{self.num_parameters:,} parameters"),
            ("device", f"device={self.device}"),
        ]
        if self.backend == "onnxruntime":
            precision = "int8" if self.manifest.get("int8") else "float32"
            found.append(("backend", f"backend=onnxruntime, {precision}"))
        return found + [("warning", text) for text in self.warnings]


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
    ) -> ImageAnswers:
        """As :meth:`Predictor.classify`."""
        self.predictor.check_probabilities(probabilities)
        if top < 1:
            raise DataError(f"top={top}: at least one answer an image must be asked for")
        vectors = self.predictor.image_vectors(images, batch_size=batch_size)
        zero = without_direction(vectors)
        if zero:
            warnings.warn(
                f"image {zero[0]} has an embedding of zeros ({len(zero)} of {len(vectors)} images):"
                " the first class is the answer, whatever it shows",
                stacklevel=2,
            )
        found, indices = self.best(vectors, top, probabilities)
        return ImageAnswers(
            [Answer(i, self.classes[i], p) for i, p in zip(row, chances, strict=True)]
            for row, chances in zip(indices.tolist(), found.tolist(), strict=True)
        )

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

    A source that could not be reached is reported permanently, training or not.
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
