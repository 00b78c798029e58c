"""Where the model computes, in which precision, and the random state of a step."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import nn

from engine.core.devices import find_device, keep_freed_memory
from engine.core.model import DualEncoder
from engine.errors import DataError, TrainingError
from engine.train.parts import ComputeParts

_AMPERE = (8, 0)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str, local_rank: int) -> torch.device:
    """The device of this process.

    Args:
        name: see :data:`engine.contracts.values.Device`; `cuda:1` is for a single process.
        local_rank: number of the process on its machine: which of several GPUs is its own.

    Raises:
        TrainingError: it is not there; or several processes would share one GPU that is named.
    """
    if ":" in name and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError(
            f"train.device: `{name}` is one GPU, and several processes train together",
            hint="`device: cuda` gives each process the GPU of its number",
        )
    try:
        device = find_device(name)
        if device.type == "cuda" and device.index is None:
            device = find_device(f"cuda:{local_rank}")
    except DataError as error:
        raise TrainingError(f"train.device: {error.message}", hint=error.hint) from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of the matrix products.

    Args:
        precision: `float32`, `bfloat16`, `float16`, or `auto`: bfloat16 where a GPU computes in it,
            float16 on other GPUs of CUDA, float32 elsewhere.
        device: of the model.
    """
    if precision != "auto":
        return _DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if _has_bfloat16(device) else torch.float16


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a GPU computes in bfloat16 itself.

    NVIDIA's do from compute capability 8.0 on (Ampere). ``torch.cuda.is_bf16_supported()`` alone is
    also true for older ones, which emulate it many times more slowly than float16. AMD's numbers of
    capability mean other things, so PyTorch is asked there.
    """
    if torch.version.hip:
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cuda.get_device_capability(device) >= _AMPERE)


def autocast(device: torch.device, dtype: torch.dtype) -> Callable[[], torch.autocast]:
    """Gives the context of a forward pass."""
    on = dtype != torch.float32
    return lambda: torch.autocast(device.type, dtype if on else torch.bfloat16, enabled=on)


def make_scaler(device: torch.device, dtype: torch.dtype) -> torch.amp.GradScaler:
    """Scales the loss, for float16 alone: its gradients would vanish otherwise."""
    return torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def place_model(model: DualEncoder, device: torch.device, parts: ComputeParts) -> None:
    """Bring a model to its device, as the config wants it to compute there.

    Args:
        model: changed in place.
        device: of this process.
        parts: of the config.

    Raises:
        TrainingError: it is to be compiled, and torch.compile does not work on this machine.
    """
    apply_threads(parts.threads)
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        set_tf32(parts.tf32)
    model.to(device)
    if parts.channels_last:
        # A convolution whose weights are so gives its output so: pixels need no conversion.
        model.vision.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if parts.compile:
        compile_blocks(model, device)


def set_tf32(on: bool) -> None:
    """Let float32 matrix products and convolutions on NVIDIA GPUs use TF32, or forbid it.

    PyTorch allows it for convolutions alone unless it is asked, and recommends it for networks that
    do not need all bits of float32. torch.compile reads the first of these two settings.
    """
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on


def compile_blocks(model: DualEncoder, device: torch.device) -> None:
    """torch.compile every module of every segment, in place.

    Raises:
        TrainingError: torch.compile does not work on this machine; raised before any step.
    """
    _try_compiler(device)
    for tower in (model.vision, model.text):
        for segment in tower.segments():
            for part in segment.parts:
                if isinstance(part, nn.Module):
                    part.compile(dynamic=True)


def _try_compiler(device: torch.device) -> None:
    """Compile one operation: the compiler, Python's headers or Triton may be missing."""
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except Exception as error:  # PyTorch has no one class for all that can be missing
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise TrainingError(
            f"train.compile: torch.compile does not work here: {reason}",
            hint="on the CPU it needs a C++ compiler and Python's headers (Debian: g++,"
            " python3-dev); or leave `compile` out",
        ) from error


def apply_threads(threads: int | None) -> None:
    """Threads of arithmetic; ``None``: as PyTorch and OMP_NUM_THREADS have it."""
    if threads is not None:
        torch.set_num_threads(threads)


def seed_step(seed: int, device: torch.device) -> None:
    """Begin a step's own random stream, so that it depends on nothing that was drawn before.

    ``torch.manual_seed`` would leave a note, with the whole call stack, for every sort of device
    that is not in use: a millisecond and some kilobytes at each step.

    Args:
        seed: of the step.
        device: of the model; its stream begins too.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
