"""What a stage measures of itself: losses, speed, how a router spreads the texts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from engine.contracts.state import State
from engine.train.step import StepOutput

MEASURED = frozenset({"text.router_logits", "cluster"})
"""Entries of a batch that :func:`routing` reads, where there are such."""

_LOWEST, _LOSS = "lowest ", "loss_"


class Meter:
    """Sums over the steps since the last line, and over the stage.

    Attributes:
        loss: the mean loss of the last line; NaN before the first.
        lowest: the lowest value of each loss on any line, by its name.
    """

    def __init__(self, device: torch.device) -> None:
        self.loss = math.nan
        self.lowest: dict[str, float] = {}
        self._started, self._rows_done = time.monotonic(), 0
        self._steps, self._rows, self._since = 0, 0, time.monotonic()
        self._sum = torch.zeros((), device=device)  # read once a line: reading waits for a GPU

    def count(self, measured: StepOutput, rows: int) -> None:
        """Take in a step."""
        self._steps += 1
        self._rows += rows
        self._rows_done += rows
        self._sum += measured.loss

    def pending(self, measured: StepOutput) -> dict[str, Tensor]:
        """What a line is made of, still on the device: tensors of no dimension."""
        losses = {_LOSS + name: value for name, value in measured.losses.items()}
        scale = measured.batch["scale"]
        return {"loss": self._sum, "scale": scale, **losses, **routing(measured.batch)}

    def line(self, numbers: Mapping[str, float], lr: float, left: int) -> dict[str, float]:
        """The numbers since the last line; the loss is their mean, the rest is of the last step.

        Args:
            numbers: those of :meth:`pending`, read from the device.
            lr: the learning rate.
            left: rows of all steps that are still to come.
        """
        now, rest = time.monotonic(), dict(numbers)
        self.loss = rest.pop("loss") / max(self._steps, 1)
        values = {
            "loss": self.loss,
            "lr": lr,
            "samples_per_second": self._rows / max(now - self._since, 1e-9),
            "scale": rest.pop("scale"),
        }
        losses = [name for name in rest if name.startswith(_LOSS)]
        for name in losses:
            own = name.removeprefix(_LOSS)
            self.lowest[own] = min(rest[name], self.lowest.get(own, math.inf))
        if len(losses) == 1:
            rest.pop(losses[0])
        values |= rest
        speed = values["samples_per_second"]
        values["seconds_left"] = left / speed if speed else 0.0
        self._steps, self._rows, self._since = 0, 0, now
        self._sum = torch.zeros_like(self._sum)
        return values

    @property
    def spent(self) -> tuple[float, int]:
        """Seconds of training, and rows that were trained on."""
        return time.monotonic() - self._started, self._rows_done

    def state(self) -> dict[str, float]:
        """What a checkpoint holds of it, so that a run that goes on measures the same losses."""
        seconds, rows = self.spent
        loss = {} if math.isnan(self.loss) else {"loss": self.loss}
        return {"seconds": seconds, "rows_done": rows, "steps": self._steps, "rows": self._rows,
                "sum": float(self._sum), **loss,
                **{_LOWEST + name: value for name, value in self.lowest.items()}}  # fmt: skip

    def resume(self, state: Mapping[str, float]) -> None:
        """Take up what :meth:`state` gave before a run went on."""
        self._started -= float(state["seconds"])
        self._rows_done = int(state["rows_done"])
        self._steps, self._rows = int(state["steps"]), int(state["rows"])
        self._sum = torch.full_like(self._sum, float(state["sum"]))
        self.loss = float(state.get("loss", math.nan))
        self.lowest = {
            name.removeprefix(_LOWEST): float(value)
            for name, value in state.items()
            if name.startswith(_LOWEST)
        }

    def pause(self, seconds: float) -> None:
        """Time that is not training: evaluating."""
        self._since += seconds
        self._started += seconds


def routing(batch: State) -> dict[str, Tensor]:
    """How a router spreads the texts: 1 is evenly; and how often it is right, where that is known.

    ``routing_evenness`` is the entropy of the shares of clusters over its largest value. The
    numbers stay on the device, so nothing here may wait for it (as bincount does).
    """
    if "text.router_logits" not in batch:
        return {}
    logits: Tensor = batch["text.router_logits"]
    choice = logits.argmax(dim=1)
    ones = torch.ones(len(choice), device=choice.device)
    shares = ones.new_zeros(logits.shape[1]).index_add(0, choice, ones) / len(choice)
    entropy = -(shares * shares.clamp(min=1e-12).log()).sum()
    found = {
        "routing_evenness": entropy / math.log(logits.shape[1]),
        "routing_largest": shares.max(),
    }
    if "cluster" in batch:
        known = batch["cluster"] >= 0
        right = (choice == batch["cluster"]) & known
        found["router_accuracy"] = 100 * right.sum() / known.sum().clamp(min=1)
    return found
