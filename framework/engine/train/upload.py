"""Pixels go to the device as bytes: a quarter of what floats take, normalised where they arrive.

For CUDA there are two buffers of page-locked memory, used in turn: while one batch is copied, on a
stream of its own, the other one is filled, and neither copy waits for the step under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.contracts.preprocess import Pixels


class Uploader:
    """Brings pictures to a device.

    Args:
        device: where they go.
        cuda: what stands for ``torch.cuda``; for tests.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        self._buffers: list[Tensor | None] = [None, None]
        self._copied: list[Any] = [None, None]
        self._next, self._stream = 0, None

    def __call__(self, pixels: Sequence[Pixels]) -> Tensor:
        """B pictures [S, S, 3] uint8 -> [B, S, S, 3] uint8 on the device."""
        if self._device.type != "cuda":
            return torch.from_numpy(np.stack(pixels)).to(self._device)
        number, self._next = self._next, 1 - self._next
        if self._copied[number] is not None:
            self._copied[number].synchronize()  # the copy before the last one: long done
        buffer = self._buffer(number, (len(pixels), *pixels[0].shape))
        np.stack(pixels, out=buffer.numpy())
        if self._stream is None:
            self._stream = self._cuda.Stream(self._device)
        with self._cuda.stream(self._stream):
            found = buffer.to(self._device, non_blocking=True)
            self._copied[number] = self._cuda.Event()
            self._copied[number].record(self._stream)
        current = self._cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        found.record_stream(current)  # its memory is used by the other stream, too
        return found

    def _buffer(self, number: int, shape: tuple[int, ...]) -> Tensor:
        buffer = self._buffers[number]
        if buffer is None or len(buffer) < shape[0] or buffer.shape[1:] != shape[1:]:
            buffer = torch.empty(shape, dtype=torch.uint8)
            buffer = self._buffers[number] = buffer.pin_memory(self._device)
        return buffer[: shape[0]]
