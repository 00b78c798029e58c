"""Finite numbers: the one check that every way in, every way out and every answer uses.

A single NaN in the weights makes every answer NaN, and a comparison with NaN is false without any
error: ``argmax`` then gives class 0 for every picture. So numbers are checked where they enter
(import, build, reading an artifact), where they leave (storing, exporting) and where answers are
made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import EngineError, WeightsError

_SHOWN = 4


@dataclass(frozen=True)
class NotFinite:
    """One tensor that holds NaN or infinity.

    Attributes:
        name: the tensor's name.
        nan: how many of its numbers are NaN.
        infinite: how many are plus or minus infinity.
        numbers: how many numbers it holds.
        first: place of the first one; empty for a tensor of no dimensions.
    """

    name: str
    nan: int
    infinite: int
    numbers: int
    first: tuple[int, ...]

    def __str__(self) -> str:
        counts = [f"{self.nan:,} NaN"] if self.nan else []
        counts += [f"{self.infinite:,} infinite"] if self.infinite else []
        if self.numbers == 1:
            return f"{self.name} is {'NaN' if self.nan else 'infinite'}"
        place = ", ".join(map(str, self.first))
        return f"{self.name}: {' and '.join(counts)} of {self.numbers:,}, the first at [{place}]"


def find_not_finite(tensors: Mapping[str, Tensor]) -> list[NotFinite]:
    """The tensors that hold NaN or infinity, in the order given.

    A sum that is finite has only finite terms, so where all is well each tensor is read once,
    without a copy, and each device is waited for once.

    Args:
        tensors: by name; any dtype and device. Integer, boolean and meta tensors are always fine.
    """
    checked = {
        name: tensor.detach()
        for name, tensor in tensors.items()
        if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.is_meta
    }
    sums: dict[torch.device, list[Tensor]] = {}
    for tensor in checked.values():
        sums.setdefault(tensor.device, []).append(_sum(tensor).isfinite())
    if all(bool(torch.stack(of).all()) for of in sums.values()):
        return []
    found = (_look(name, tensor) for name, tensor in checked.items())
    return [item for item in found if item is not None]


def _sum(tensor: Tensor) -> Tensor:
    """Finite only if every number is. It may overflow where all are: then they are looked at."""
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj()).sum(dtype=torch.float64)
    if tensor.element_size() == 1:  # the float8 dtypes have no arithmetic
        tensor = tensor.float()
    return tensor.sum(dtype=None if tensor.dtype == torch.float64 else torch.float32)


def _look(name: str, tensor: Tensor) -> NotFinite | None:
    if tensor.element_size() == 1:
        tensor = tensor.float()
    finite = tensor.isfinite()
    bad = int((~finite).sum())
    if not bad:
        return None
    nan = int(tensor.isnan().sum())
    first = (~finite).nonzero()[0].tolist()
    return NotFinite(name, nan, bad - nan, tensor.numel(), tuple(first))


def check_finite(
    where: str,
    tensors: Mapping[str, Tensor],
    *,
    error: type[EngineError] = WeightsError,
    hint: str | None = None,
) -> None:
    """Raise where a tensor holds NaN or infinity.

    Args:
        where: what holds the tensors, for the message: a path, "the class vectors", "step 12".
        tensors: by name; see :func:`find_not_finite`.
        error: the class to raise.
        hint: what the user can do about it.

    Raises:
        EngineError: (the class ``error``) names the first tensors, with counts and places.
    """
    found = find_not_finite(tensors)
    if not found:
        return
    lines = [str(item) for item in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more tensors of {len(tensors)}")
    raise error(
        f"{where}: holds numbers that are not finite, so every answer would be meaningless: "
        + "; ".join(lines),
        hint=hint,
    )
