"""`grey_patches`: one matrix for all patches, then layers over the channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.contracts import Segment, State, VisionTower, segments_of, take

from .letterbox import Letterbox
from .settings import GreyPatchesSettings


class Block(nn.Module):
    """[B, W, S, S] -> the same: each place looks at its neighbours."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mix(self.near(self.norm(x)).relu())
        return out


class GreyPatches(VisionTower):
    """The picture's greys in patches of 8 x 8; the three channels are alike, so one is read."""

    def __init__(self, settings: GreyPatchesSettings) -> None:
        super().__init__(settings)
        self.width = settings.width
        self.preprocess = Letterbox(settings.image_size, settings.fill)
        self.patches = nn.Conv2d(1, settings.width, 8, stride=8)
        places = settings.image_size // 8
        self.places = nn.Parameter(0.02 * torch.randn(settings.width, places, places))
        self.blocks = nn.ModuleList(Block(settings.width) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.width)

    def segments(self) -> list[Segment]:
        """Stem, blocks, head."""
        return segments_of([self.patches, self.places], list(self.blocks), [self.norm])

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """Segments start to stop."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.patches(state.pop("pixels")[:, :1]) + self.places
            elif index <= len(self.blocks):
                state["hidden"] = self.blocks[index - 1](state["hidden"])
            else:
                hidden = take(state, "hidden", keep)
                state["pooled"] = self.norm(hidden.flatten(2).amax(dim=2))
        return state
