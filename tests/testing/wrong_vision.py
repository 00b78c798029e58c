"""Vision towers with one fault each, and a right one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn
from wrong_towers import Block

from engine.contracts import (
    Segment,
    SquarePreprocess,
    State,
    VisionTower,
    segments_of,
    take,
)


class RightVision(VisionTower):
    """The means of a picture's quarters through a matrix."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.width = 6
        self.preprocess = SquarePreprocess(16)
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.block = Block(8)
        self.norm = nn.Linear(8, 6)

    def segments(self) -> list[Segment]:
        return segments_of([self.conv], [self.block], [self.norm])

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.stem(state.pop("pixels"))
            elif index == 1:
                state["hidden"] = self.block(state["hidden"])
            else:
                state["pooled"] = self.norm(take(state, "hidden", keep).mean(dim=1))
        return state

    def stem(self, pixels: Tensor) -> Tensor:
        return self.conv(pixels).flatten(2).transpose(1, 2)


class NoPreprocess(RightVision):
    """Does not say what pictures it wants."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        del self.preprocess


class QuietBatchNormVision(RightVision):
    """BatchNorm over the picture's quarters, which it does not tell of."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8))


class MixesDimensions(RightVision):
    """A reshape that takes one picture's numbers to the next."""

    def stem(self, pixels: Tensor) -> Tensor:
        hidden = super().stem(pixels)
        return hidden.transpose(0, 1).reshape(hidden.shape)


class Prepared(RightVision):
    """A right tower with its own preprocessing, which the wrong ones below change."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.preprocess = self.prepare()

    def prepare(self) -> Any:
        return Halved()


class Halved:
    """Four members and nothing else: a squashed picture, values from -1 to 1."""

    size = 16

    def to_array(self, image: Image.Image) -> Any:
        return np.asarray(image.resize((self.size, self.size)))

    def to_tensor(self, batch: Tensor) -> Tensor:
        return batch.permute(0, 3, 1, 2).float() / 127.5 - 1

    def identity(self) -> str:
        return "halved"


class PreprocessWithoutIdentity(Prepared):
    """Three members of four."""

    def prepare(self) -> Any:
        found = Halved()
        return SimpleNamespace(size=16, to_array=found.to_array, to_tensor=found.to_tensor)


class PreprocessKeepsShape(Prepared):
    """The shorter side to 16, nothing cut."""

    def prepare(self) -> Any:
        class Wide(Halved):
            def to_array(self, image: Image.Image) -> Any:
                scale = self.size / min(image.size)
                return np.asarray(
                    image.resize((round(scale * image.width), round(scale * image.height)))
                )

        return Wide()


class PreprocessJitters(Prepared):
    """Augments in its evaluation."""

    def prepare(self) -> Any:
        class Jitter(Halved):
            def to_array(self, image: Image.Image) -> Any:
                noise = np.random.default_rng().integers(0, 2, (16, 16, 3), np.uint8)
                return super().to_array(image) // 2 + noise

        return Jitter()


class PreprocessDoubles(Prepared):
    """Float64, as numpy's means are."""

    def prepare(self) -> Any:
        class Double(Halved):
            def to_tensor(self, batch: Tensor) -> Tensor:
                return super().to_tensor(batch).double()

        return Double()


class PreprocessWhitensTheBatch(Prepared):
    """The mean and the deviation of the batch at hand."""

    def prepare(self) -> Any:
        class Whitened(Halved):
            def to_tensor(self, batch: Tensor) -> Tensor:
                found = super().to_tensor(batch)
                return (found - found.mean()) / (found.std() + 1)

        return Whitened()


class PreprocessNamedByAddress(Prepared):
    """Python's own name of an object, which holds its place in memory."""

    def prepare(self) -> Any:
        class Named(Halved):
            def identity(self) -> str:
                return object.__repr__(self)

        return Named()
