"""The way of pixels to a GPU: two page-locked buffers in turn, none filled before it was copied."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from engine.train.upload import Uploader


def test_on_the_cpu_it_is_one_stack() -> None:
    pixels = [np.full((4, 4, 3), n, np.uint8) for n in range(3)]
    found = Uploader(torch.device("cpu"))(pixels)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), np.stack(pixels))


def test_buffers_are_used_in_turn_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    class Event:
        count = 0

        def __init__(self) -> None:
            Event.count += 1
            self.number = Event.count

        def record(self, stream: Any) -> None:
            events.append(f"copied {self.number}")

        def synchronize(self) -> None:
            events.append(f"waited {self.number}")

    current = SimpleNamespace(wait_stream=lambda stream: events.append("step waits"))
    cuda = SimpleNamespace(
        Stream=lambda device: "side", stream=lambda stream: nullcontext(), Event=Event,
        current_stream=lambda device: current,
    )  # fmt: skip
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, device: self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, non_blocking: self.clone())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    upload = Uploader(torch.device("cuda"), cuda)
    batches = [[np.full((2, 2, 3), 10 * b + n, np.uint8) for n in range(b + 1)] for b in range(4)]
    found = [upload(batch) for batch in batches]
    for given, got in zip(batches, found, strict=True):
        assert np.array_equal(got.numpy(), np.stack(given))
    assert events == ["copied 1", "step waits", "copied 2", "step waits",
                      "waited 1", "copied 3", "step waits",
                      "waited 2", "copied 4", "step waits"]  # fmt: skip
