"""A small vision transformer that learns in a minute on a processor, for configs/tiny.

Convolutions cut the image into tokens instead of one patch matrix: such a stem learns faster and
from fewer images. Source: Xiao et al., 2021, "Early Convolutions Help Transformers See Better",
arXiv:2106.14881. A norm over the channels and places of one image stands where they have batch
norm, so that a row's result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from engine.contracts import (
    Output,
    Segment,
    SquarePreprocess,
    State,
    VisionTower,
    segments_of,
    take,
)
from engine.contracts.description import Fact, Table
from engine_plugins.layers import clip_blocks, random_parameter
from engine_plugins.vision.settings import SmallVitSettings


class _Convolution(nn.Module):
    """[B, C, S, S] -> [B, D, S/2, S/2]: 3x3 convolution, norm over channels and places, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False)
        self.norm = nn.GroupNorm(1, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


class SmallVit(VisionTower):
    """Pixels -> features [B, settings.width], the mean over the places.

    ``state["hidden"]`` is [B, places, W], places = (image_size / 2**convolutions)**2.
    """

    settings: SmallVitSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **VisionTower.outputs,
        "hidden": Output("the last block, before the norm", "[B, places, width]"),
    }
    described: ClassVar[tuple[Table, ...]] = (
        Table("engine", (), (Fact("heads", lambda t: t.settings.heads, "heads"),)),
    )

    def __init__(self, settings: SmallVitSettings) -> None:
        super().__init__(settings)
        width = self.width = settings.width
        self.preprocess = SquarePreprocess(
            settings.image_size, mean=settings.mean, std=settings.std
        )
        channels = [3, *settings.channels]
        self.stem = nn.Sequential(*(_Convolution(*pair) for pair in pairwise(channels)))
        self.positional_embedding = random_parameter(0.02, settings.places, width)
        self.blocks = clip_blocks(
            width, settings.layers, settings.heads, settings.mlp_width, activation="gelu"
        )
        self.norm = nn.LayerNorm(width)

    def segments(self) -> list[Segment]:
        """Stem: convolutions and positions. Head: the norm before the mean."""
        return segments_of([self.stem, self.positional_embedding], list(self.blocks), [self.norm])

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                tokens = self.stem(state.pop("pixels")).flatten(2).transpose(1, 2)
                state["hidden"] = tokens + self.positional_embedding
            elif index == len(self.blocks) + 1:
                state["pooled"] = self.norm(take(state, "hidden", keep)).mean(dim=1)
            else:
                state["hidden"] = self.blocks[index - 1](state["hidden"])
        return state
