"""Plans: the tensors and bytes of a part, known from its settings alone.

Nothing here imports torch.

`engine size` must answer in a moment on a machine of any size, so a plugin whose parameters follow
from its settings says so in a plan. A plugin without one is built on PyTorch's meta device instead:
just as exact, some seconds slower. A test holds every built-in plan to the built module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TensorDtype = Literal["float", "int64", "bool"]


@dataclass(frozen=True)
class TensorPlan:
    """One tensor of the state dict.

    Attributes:
        shape: its shape; ``()`` for a number.
        dtype: ``"float"`` for what is stored as the config's ``storage`` says; other tensors (a
            counter of BatchNorm, say) keep their own.
        buffer: whether it is a buffer (running statistics, say), which no optimizer trains, and not
            a parameter.
    """

    shape: tuple[int, ...]
    dtype: TensorDtype = "float"
    buffer: bool = False


Plan = dict[str, TensorPlan]
"""Every tensor of a part's state dict by its own name; one that has several names by the first."""


@dataclass(frozen=True)
class TowerPlan:
    """A tower's tensors and widths.

    Attributes:
        width: of the features.
        tensors: every tensor of its state dict.
        embedding_width: width E of a text encoder's token embeddings; ``None`` for vision.
    """

    width: int
    tensors: Plan
    embedding_width: int | None = None
