"""Batch norms folded into the convolutions before them: the same function with fewer numbers.

Once it is trained, a batch norm multiplies each channel by a number and adds another one. The
factor goes into the rows of the convolution whose output it reads, and what stays is a bias. The
result is the same up to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from engine.errors import ConfigError, WeightsError
from engine_plugins.vision.folded_plans import norms_in

if TYPE_CHECKING:
    from torch.nn.modules.batchnorm import _BatchNorm

Tensors = dict[str, Tensor]


class ChannelBias(nn.Module):
    """What is left of a batch norm: a bias for each channel, then its activation.

    Args:
        norm: the batch norm whose place it takes; timm's has its activation within.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(norm.num_features))
        self.drop = getattr(norm, "drop", None) or nn.Identity()
        self.act = getattr(norm, "act", None) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        found: Tensor = self.act(self.drop(x + self.bias[:, None, None]))
        return found


def fold_modules(model: nn.Module, eps: float | None) -> None:
    """Put a :class:`ChannelBias` in the place of every batch norm.

    Args:
        model: is changed.
        eps: that all of them have; ``None``: they cannot be folded.

    Raises:
        ConfigError: there is none, or one has another ``eps``.
    """
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    same = all(norm.eps == eps and norm.affine for norm in norms.values())
    if eps is None or not norms or not same:
        raise ConfigError(
            f"fold_norms: {type(model).__name__} has no batch norms that can be folded",
            hint="leave fold_norms out",
        )
    for name, norm in norms.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, ChannelBias(norm))


def folded_tensors(tensors: Mapping[str, Tensor], eps: float) -> dict[str, Tensor]:
    """Tensors with every batch norm folded into the last convolution before it.

    Args:
        tensors: in the order in which the modules stand in the model, so that a convolution comes
            right before its batch norm; not changed.
        eps: of the batch norms.

    Raises:
        WeightsError: before a batch norm there is no convolution of as many channels.
    """
    found: dict[str, Tensor] = {}
    norms = norms_in(tensors)
    convolution, done = "", set[str]()
    for name, tensor in tensors.items():
        norm = name.rpartition(".")[0]
        if norm not in norms:
            found[name] = tensor
            if tensor.dim() == 4:
                convolution = name
        elif norm not in done:
            done.add(norm)
            _fold(found, tensors, convolution, norm, eps)
    return found


def _fold(
    found: dict[str, Tensor], tensors: Mapping[str, Tensor], convolution: str, norm: str, eps: float
) -> None:
    weight, bias, mean, variance = (
        tensors[f"{norm}.{part}"].double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    rows = found.get(convolution)
    if rows is None or len(rows) != len(weight):
        raise WeightsError(f"{norm} cannot be folded: no convolution of its channels is before it")
    factor = weight / (variance + eps).sqrt()
    found[convolution] = (rows.double() * factor[:, None, None, None]).to(rows.dtype)
    own = f"{convolution.rpartition('.')[0]}.bias"
    if own in found:
        mean = mean - tensors[own].double()
        found[own] = torch.zeros_like(tensors[own])
    found[f"{norm}.bias"] = (bias - mean * factor).to(rows.dtype)


def unfolded_tensors(tensors: Mapping[str, Tensor], model: nn.Module, eps: float) -> Tensors:
    """Tensors with a batch norm in the place of every :class:`ChannelBias`: it only adds the bias.

    Other programs have no form of the folded model. The result computes the same up to the rounding
    of float32.

    Args:
        tensors: of ``model``, by its own names; not changed.
        model: the folded model.
        eps: of the batch norms.
    """
    found = dict(tensors)
    for name, module in model.named_modules():
        if not isinstance(module, ChannelBias):
            continue
        ones = torch.ones_like(module.bias, requires_grad=False)
        found[f"{name}.weight"] = ones
        found[f"{name}.running_mean"] = torch.zeros_like(ones)
        found[f"{name}.running_var"] = ones - eps  # of which the root, with eps, is 1
        found[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return found
