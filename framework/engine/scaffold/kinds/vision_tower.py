"""A vision tower to begin with."""

from __future__ import annotations

from engine.scaffold.kind import PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from engine.contracts import VisionTowerSettings
from pydantic import Field


class ${class_name}Settings(VisionTowerSettings):
    """$title."""

    image_size: int = Field(64, ge=16, description="side of the square that the tower sees")
    width: int = Field(64, ge=1, description="channels, and width of the features")
    layers: int = Field(3, ge=0, description="blocks; each halves the sides")
'''

PLUGIN = '''\
"""`$name`: pixels become features.

Its contract: engine/contracts/tower.py.
"""

from __future__ import annotations

from engine.contracts import (
    Segment,
    SquarePreprocess,
    State,
    VisionTower,
    segments_of,
    take,
)
from torch import Tensor, nn

from .settings import ${class_name}Settings


class Block(nn.Module):
    """[B, W, S, S] -> [B, W, S/2, S/2]. GroupNorm, because BatchNorm mixes the rows of a batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(1, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x)).relu()
        return out


class $class_name(VisionTower):
    """$title."""

    def __init__(self, settings: ${class_name}Settings) -> None:
        super().__init__(settings)
        width = self.width = settings.width
        self.preprocess = SquarePreprocess(settings.image_size)
        self.stem = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(width) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width)

    def segments(self) -> list[Segment]:
        """Stem, blocks, head: every parameter in exactly one, so that each can be frozen."""
        return segments_of([self.stem], list(self.blocks), [self.norm])

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """Segments start to stop; a row does not depend on the other rows."""
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = self.stem(state.pop("pixels")).relu()
            elif index <= len(self.blocks):
                state["hidden"] = self.blocks[index - 1](state["hidden"])
            else:
                places = take(state, "hidden", keep).flatten(2)  # [B, W, places]
                state["pooled"] = self.norm(places.mean(dim=2))
        return state
'''

PACKAGE = PackageKind(
    file="tower",
    contract="VisionTower",
    contract_module="engine.contracts.tower",
    summary="a few convolutions, then the mean over the places",
    settings=SETTINGS,
    plugin=PLUGIN,
    slots={"vision": "{use: $name}"},
)
