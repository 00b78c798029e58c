"""Where a model computes, by the name that a user gives."""

from __future__ import annotations

import torch

from engine.errors import DataError


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name.

    Args:
        name: of PyTorch (``cpu``, ``cuda:1``, ``mps``), or ``auto``: a GPU where there is one.

    Raises:
        DataError: this PyTorch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            name = "mps"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        raise DataError(
            f"device `{name}`: this PyTorch finds no such device here",
            hint="`cpu`, or `auto` for a GPU where there is one",
        ) from error
    if device.type == "meta":
        raise DataError("device `meta` computes nothing", hint="`cpu`, or `auto`")
    return device
