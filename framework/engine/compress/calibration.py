"""The calibration set: inputs on which a smaller model is compared with the original.

A text or picture runs through the tower once, and what lies before each segment is kept. So when
one tensor is changed, the tower runs from that tensor's segment on and no further back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.preprocess import to_batch
from engine.contracts.projection import Projection, project_state
from engine.contracts.state import State, pad_tokens
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.tower import TextEncoder, Tower
from engine.core.model import DualEncoder
from engine.errors import DataError

TOKENS_A_BATCH = 1024
IMAGES_A_BATCH = 8


@dataclass
class TowerProbe:
    """One tower with its projection, and the states before each of its segments.

    Attributes:
        name: ``"text"`` or ``"vision"``.
        tower: the tower.
        projection: the projection.
        inputs: batches of inputs.
        order: the row of each input in the order in which they were given.
        reference: [N, J] float32, the original's embeddings, rows of length 1.
    """

    name: str
    tower: Tower
    projection: Projection
    inputs: list[State]
    order: Tensor
    reference: Tensor = field(init=False)
    _before: list[list[State]] = field(init=False, repr=False)
    _segments: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        segments = self.tower.segments()
        names = {id(p): name for name, p in self.tower.named_parameters()}
        self._segments = {
            names[id(p)]: number
            for number, segment in enumerate(segments)
            for p in segment.parameters()
            if id(p) in names
        }
        self._before = []
        with torch.inference_mode():
            for batch in self.inputs:
                states = [batch]
                for number in range(len(segments)):
                    reads = self.projection.reads
                    states.append(self.tower.run(states[-1], number, number + 1, keep=reads))
                self._before.append(states)
        self.reference = self.embeddings(len(segments))

    def __len__(self) -> int:
        return len(self.order)

    @property
    def depth(self) -> int:
        """The number of segments."""
        return len(self.tower.segments())

    def segment_of(self, parameter: str) -> int:
        """The segment from which the tower runs when a tensor changes.

        Args:
            parameter: its name in the model. Those of the projection come after all segments, and
                buffers, which no segment names, count as those of the first.
        """
        if parameter.startswith(f"{self.name}_projection."):
            return self.depth
        return self._segments.get(parameter.removeprefix(f"{self.name}."), 0)

    def embeddings(self, start: int = 0) -> Tensor:
        """The embeddings by the present weights, [N, J] float32, rows of length 1.

        Args:
            start: the first segment that may have changed.
        """
        found = []
        with torch.inference_mode():
            for batch, states in zip(self.inputs, self._before, strict=True):
                state = states[start]
                # The last block often computes one place only, where it runs with the head.
                if start < self.depth:
                    state = self.tower.run(state, start, self.depth, keep=self.projection.reads)
                if "token_embeddings" in self.projection.reads and isinstance(
                    self.tower, TextEncoder
                ):
                    state = {**state, "token_embeddings": self.tower.embed(batch["ids"])}
                out = project_state(self.projection, {**batch, **state})["embedding"]
                found.append(functional.normalize(out.float(), dim=-1))
        rows = torch.cat(found)
        return rows[self.order].clone()


def text_probe(model: DualEncoder, tokenizer: Tokenizer, texts: Sequence[str]) -> TowerProbe:
    """The text encoder with some texts.

    Raises:
        DataError: there is none.
    """
    if not texts:
        raise DataError(
            "the calibration set has no text",
            hint="give a file with one text a line, some hundreds of real ones: --texts FILE",
        )
    rows = tokenizer.encode(list(texts), model.text.settings.max_tokens)
    ascending = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    batches: list[State] = []
    own: list[list[int]] = []
    for i in ascending:
        if own and (len(own) + 1) * len(rows[i]) > TOKENS_A_BATCH:
            batches.append(pad_tokens(own, tokenizer.pad_id))
            own = []
        own.append(rows[i])
    batches.append(pad_tokens(own, tokenizer.pad_id))
    order = torch.empty(len(rows), dtype=torch.int64)
    order[torch.tensor(ascending)] = torch.arange(len(rows))
    return TowerProbe("text", model.text, model.text_projection, batches, order)


def image_probe(model: DualEncoder, pixels: Iterable[Tensor]) -> TowerProbe:
    """The vision tower with some pictures.

    Args:
        model: the model.
        pixels: batches [B, 3, S, S] float32, as the vision tower takes them.
    """
    batches = [{"pixels": batch} for batch in pixels]
    count = sum(len(batch["pixels"]) for batch in batches)
    return TowerProbe("vision", model.vision, model.vision_projection, batches, torch.arange(count))


def drawn_pixels(model: DualEncoder, count: int) -> list[Tensor]:
    """Pictures of coloured noise for where there are no real ones: always the same.

    They are soft at every scale, as photographs are.
    """
    preprocess = model.vision.preprocess
    side = preprocess.size
    draw = np.random.default_rng(20)
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    weight = 1 / np.maximum(frequencies, 1 / side)
    pictures = []
    for _ in range(count):
        noise = draw.normal(size=(3, side, frequencies.shape[1])) + 1j * draw.normal(
            size=(3, side, frequencies.shape[1])
        )
        shared = noise[:1] * 0.8 + noise * 0.4
        picture = np.fft.irfft2(shared * weight, s=(side, side))
        picture = (picture - picture.mean()) / picture.std() * 55 + 120
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return pixels_of(model, pictures)


def pixels_of(model: DualEncoder, pictures: Sequence[np.ndarray]) -> list[Tensor]:
    """Pictures of ``to_pixels``, uint8 [S, S, 3], as batches of pixels."""
    preprocess = model.vision.preprocess
    return [
        to_batch(pictures[start : start + IMAGES_A_BATCH], preprocess, torch.device("cpu"))
        for start in range(0, len(pictures), IMAGES_A_BATCH)
    ]


def cosine_loss(original: Tensor, embeddings: Tensor) -> float:
    """Mean of 1 - cosine to the original's embeddings, [N, J] both, at least 0."""
    # Of unit vectors half the squared distance is 1 - cosine, and it is exact where they are near.
    distance = (embeddings.double() - original.double()).square().sum(dim=1) / 2
    return float(distance.mean())


def neighbours_kept(original: Tensor, embeddings: Tensor) -> float:
    """Share of inputs whose nearest other input is the one that it was with the original.

    Args:
        original: [N, J], its embeddings.
        embeddings: in the same way, to be compared.

    Raises:
        DataError: there are fewer than two inputs.
    """
    if len(original) < 2:
        raise DataError("nearest neighbours need two inputs at least")
    return float((nearest(original) == nearest(embeddings)).double().mean())


def nearest(rows: Tensor) -> Tensor:
    """[N, J] unit rows -> [N] int64: the most similar other row."""
    found = []
    for start in range(0, len(rows), 1024):
        similar = rows[start : start + 1024] @ rows.T
        similar[torch.arange(len(similar)), torch.arange(start, start + len(similar))] = -2
        found.append(similar.argmax(dim=1))
    return torch.cat(found)


def spread(rows: list[Any], most: int) -> list[Any]:
    """At most ``most`` of some rows, evenly spaced."""
    if len(rows) <= most:
        return rows
    return [rows[i * len(rows) // most] for i in range(most)]
