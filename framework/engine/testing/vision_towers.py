"""What vision towers promise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine.contracts.preprocess import Preprocess, to_batch, to_pixels
from engine.contracts.state import State
from engine.errors import PluginError
from engine.testing import segments, towers
from engine.testing.common import call
from engine.testing.core import describe, fault, rule
from engine.testing.towers import TowerSubject

if TYPE_CHECKING:
    from PIL import Image

_TOWER = "engine.contracts.tower.VisionTower"
_PREPROCESS = "engine.contracts.preprocess.Preprocess"
_SHAPES = ((64, 48), (48, 64), (7, 7), (1, 1), (1, 300), (300, 2))
"""Width and height of the pictures: ordinary, small, and long ones, as the web has them."""


class VisionTowerSubject(TowerSubject):
    """A vision tower."""

    def feed(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
        """Three random pictures of the tower's size."""
        size = self.module.preprocess.size
        generator = torch.Generator().manual_seed(seed)
        return {"pixels": torch.randn(3, 3, size, size, generator=generator).to(dtype)}

    def stored_inputs(self) -> tuple[State, State, State, list[int]]:
        """An input; twice a single row; a number for each row of the first."""
        one = {name: tensor[:1] for name, tensor in self.feed().items()}
        return self.feed(), one, one, [1, 1, 1]

    def batch(self) -> torch.Tensor:
        """Three rows of noise, [3, S, S, 3] uint8."""
        size = self.module.preprocess.size
        generator = torch.Generator().manual_seed(0)
        return torch.randint(256, (3, size, size, 3), dtype=torch.uint8, generator=generator)


SUBJECT = VisionTowerSubject


def _pictures() -> list[Image.Image]:
    from PIL import Image

    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        for width, height in _SHAPES
    ]


@rule(
    contract=_TOWER,
    says="preprocess: how a picture becomes pixels; set by the constructor.",
    why="Every picture is cut, scaled and normalised as it says before the tower sees it.",
    needs=("build",),
)
def preprocess(it: VisionTowerSubject) -> None:
    """It is there after the constructor, with every member of the protocol."""
    found = getattr(it.module, "preprocess", None)
    if not isinstance(found, Preprocess):
        missing = [
            name
            for name in ("size", "to_array", "to_tensor", "identity")
            if not hasattr(found, name)
        ]
        fault(
            "`preprocess`, a Preprocess, after the constructor",
            f"{type(found).__name__} without {', '.join(missing)}",
        )
    if not isinstance(found.size, int) or found.size < 1:
        fault("a `size` that is a whole number of at least 1", repr(found.size))


@rule(
    contract=f"{_PREPROCESS}.to_array",
    says="Cut and scale a picture: RGB, upright, any size -> [size, size, 3] uint8.",
    why="Data of the web holds pictures of every shape. What is not of that form cannot be put"
    " into a batch, and no picture may stop a run.",
    needs=("preprocess",),
)
def preprocess_array(it: VisionTowerSubject) -> None:
    """Pictures of all shapes become pixels of one shape."""
    for image, shape in zip(_pictures(), _SHAPES, strict=True):
        expected = f"a picture of {shape[0]} x {shape[1]} pixels to become pixels"
        for crop in (False, True):
            call(to_pixels, image, it.module.preprocess, crop=crop, expected=expected)


@rule(
    contract=f"{_PREPROCESS}.to_array",
    says="It is called from several threads at once, gives the same for the same picture each time,"
    " and does not change the picture.",
    why="Activations are stored under the digest of the pixels: what differs from call to call is"
    " never found again, and evaluation gives other numbers each time.",
    needs=("preprocess_array",),
)
def preprocess_pure(it: VisionTowerSubject) -> None:
    """The same pixels each time, from threads too; the picture stays as it was."""
    images, found = _pictures(), it.module.preprocess
    before = [image.tobytes() for image in images]
    first = [found.to_array(image) for image in images]
    if [image.tobytes() for image in images] != before:
        fault("the picture to stay as it was", "to_array changed it")
    if any(
        not np.array_equal(one, found.to_array(i)) for one, i in zip(first, images, strict=True)
    ):
        fault("the same pixels for the same picture", "others at the second call of to_array")
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(found.to_array, images * 8))
    if any(not np.array_equal(one, two) for one, two in zip(first * 8, together, strict=True)):
        fault("the same pixels from several threads", "to_array gives others there")


@rule(
    contract=f"{_PREPROCESS}.to_tensor",
    says="[B, size, size, 3] uint8 -> [B, 3, size, size] float32, on the device of the batch.",
    why="These are the tower's pixels.",
    needs=("preprocess",),
)
def preprocess_tensor(it: VisionTowerSubject) -> None:
    """A batch of any pixels becomes finite floats of the tower's shape."""
    found, batch = it.module.preprocess, it.batch()
    black, white = torch.zeros_like(batch), torch.full_like(batch, 255)
    for what, each in (("noise", batch), ("black", black), ("white", white)):
        try:
            made = to_batch(list(each.numpy()), found)
        except PluginError as error:
            fault(f"a tensor of floats for a batch of {what} pictures", str(error))
        except Exception as error:
            fault(f"to_tensor to take a batch of {what} pictures", describe(error))
        if made.dtype != torch.float32:
            fault("float32 (Engine takes it to the dtype of the tower)", str(made.dtype))
        if not made.isfinite().all():
            fault("finite numbers", f"NaN or infinity for {what} pictures")


@rule(
    contract=f"{_PREPROCESS}.to_tensor",
    says="It does not change the batch, and a row does not depend on the other rows.",
    why="A picture would get other features beside other pictures, and cached ones would be wrong.",
    needs=("preprocess_tensor",),
)
def preprocess_rows(it: VisionTowerSubject) -> None:
    """Row by row the same as together; the batch stays as it was."""
    found, batch = it.module.preprocess, it.batch()
    before = batch.clone()
    together = found.to_tensor(batch)
    if not torch.equal(batch, before):
        fault("the batch to stay as it was", "to_tensor changed it")
    alone = torch.cat([found.to_tensor(batch[i : i + 1]) for i in range(len(batch))])
    if not torch.allclose(together, alone, rtol=1e-5, atol=1e-6):
        worst = float((together - alone).abs().max())
        fault("each row alone to be as in the batch", f"they differ by {worst:.2e}")


@rule(
    contract=f"{_PREPROCESS}.identity",
    says="It is part of the name of cached activations, so it is the same in every process: two"
    " towers of equal settings give equal texts.",
    why="Where it differs from process to process nothing that was stored is found again; where it"
    " is empty, two ways of preparing pictures share what they stored.",
    needs=("preprocess",),
)
def preprocess_identity(it: VisionTowerSubject) -> None:
    """A text, and that of another tower of the same settings."""
    found = call(it.module.preprocess.identity, expected="identity() to give a text")
    if not isinstance(found, str) or not found.strip():
        fault("a text that says how pixels become floats", repr(found))
    other: Any = it.make().preprocess.identity()
    if other != found:
        fault("the same text for equal settings", f"{found!r}, and {other!r} of a second tower")


# Before `forward`, whose input it gives the size of.
RULES = (
    towers.build,
    preprocess,
    preprocess_array,
    preprocess_pure,
    preprocess_tensor,
    preprocess_rows,
    preprocess_identity,
    *towers.BASIC[1:],
    *segments.RULES,
    towers.state_unchanged,
    towers.outputs,
    *towers.STORED,
)
