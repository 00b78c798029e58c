"""Whether a run still trains: finite numbers, steps that are taken, statistics that can be undone.

A run that diverges must end with an error and with its last good checkpoint, never with an artifact
full of NaN. The loss shows that of a step before it is taken; what the step itself broke shows in
the weights alone, so those are checked before anything is saved, evaluated or ended.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.contracts.finite import find_not_finite
from engine.core.model import DualEncoder

_MIN_SCALE = 1.0
"""A gradient that overflows float16 at this loss scale overflows it without any scaling."""


class Health:
    """The steps of a stage.

    Attributes:
        taken: steps that changed the weights.
        skipped: steps without a break, up to the last one, that the gradient scaler of float16 left
            out because the gradient was not finite.
    """

    def __init__(self, taken: int = 0, skipped: int = 0) -> None:
        self.taken, self.skipped = taken, skipped

    def count(self, skipped: bool) -> None:
        """Take in a step."""
        self.taken += not skipped
        self.skipped = self.skipped + 1 if skipped else 0

    def diverged(self, scale: float) -> bool:
        """Whether skipping steps does not help any more.

        The scaler halves its scale after each step that it skips. That a run begins with a few is
        usual; it has diverged where the gradient is not finite at a scale of 1 either.

        Args:
            scale: the factor on the loss, after the last step.
        """
        return bool(self.skipped) and scale < _MIN_SCALE

    def describe(self) -> str:
        """What diverged, in words."""
        return (
            f"the gradient was not finite in float16 in {self.skipped} steps, one after another,"
            " although the loss was scaled by less each time, at last by 1"
        )


class Watched:
    """The tensors of a model that are to stay finite.

    Args:
        model: at its start. A buffer that is not finite there (a mask of minus infinity, say) is a
            constant of its tower, and is left out.
    """

    def __init__(self, model: DualEncoder) -> None:
        self._model = model
        buffers = {name: b for name, b in model.named_buffers() if b.is_floating_point()}
        self._constant = {found.name for found in find_not_finite(buffers)}

    def problems(self, losses: Mapping[str, nn.Module]) -> list[str]:
        """What is not finite, in words; both towers, both projections, buffers among it.

        Args:
            losses: those of the stage; their own parameters are checked too.
        """
        tensors: dict[str, Tensor] = {
            name: tensor
            for name, tensor in self._model.state_dict().items()
            if name not in self._constant
        }
        for loss, module in losses.items():
            tensors |= {f"loss {loss}: {n}": t for n, t in module.state_dict().items()}
        return [str(found) for found in find_not_finite(tensors)]


class Statistics:
    """The running statistics of the BatchNorm layers that train, as they were before a step.

    A forward pass changes them before the loss is known. A step that is not taken because its loss
    is not finite must leave nothing behind.

    Args:
        model: with the module modes of the stage.
    """

    def __init__(self, model: DualEncoder) -> None:
        self._buffers = [
            buffer
            for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            for buffer in module.buffers(recurse=False)
        ]
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        """Remember them."""
        self._kept = [buffer.clone() for buffer in self._buffers]

    def restore(self) -> None:
        """Set them back to what was remembered."""
        with torch.no_grad():
            for buffer, kept in zip(self._buffers, self._kept, strict=True):
                buffer.copy_(kept)
