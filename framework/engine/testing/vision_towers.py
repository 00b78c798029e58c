"""What vision towers promise."""

from __future__ import annotations

import torch

from engine.contracts.state import State
from engine.contracts.tower import Preprocess
from engine.testing import segments, towers
from engine.testing.core import fault, rule
from engine.testing.towers import TowerSubject

_TOWER = "engine.contracts.tower.VisionTower"


class VisionTowerSubject(TowerSubject):
    """A vision tower."""

    def feed(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
        size = self.module.preprocess.size
        generator = torch.Generator().manual_seed(seed)
        return {"pixels": torch.randn(3, 3, size, size, generator=generator).to(dtype)}

    def stored_inputs(self) -> tuple[State, State, State, list[int]]:
        """An input; twice a single row; a number for each row of the first."""
        one = {name: tensor[:1] for name, tensor in self.feed().items()}
        return self.feed(), one, one, [1, 1, 1]


SUBJECT = VisionTowerSubject


@rule(
    contract=_TOWER,
    says="preprocess: how a picture becomes pixels.",
    why="Every picture is cut, scaled and normalised as it says before the tower sees it.",
    needs=("build",),
)
def preprocess(it: VisionTowerSubject) -> None:
    """It is there after the constructor, and sensible."""
    found = getattr(it.module, "preprocess", None)
    if not isinstance(found, Preprocess):
        fault("`preprocess`, a Preprocess, after the constructor", repr(found))
    if found.size < 1 or min(found.std) <= 0 or len(found.mean) != 3 or len(found.std) != 3:
        fault("a size of at least 1, three means, three standard deviations above 0", repr(found))


# Before `forward`, whose input it gives the size of.
RULES = (
    towers.build,
    preprocess,
    *towers.BASIC[1:],
    *segments.RULES,
    towers.state_unchanged,
    towers.outputs,
    *towers.STORED,
)
