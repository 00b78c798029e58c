"""The loss of each choice: a tensor is stored as it says and read again, and the model compared.

Every other tensor keeps its numbers meanwhile. Where measuring every choice would take longer than
the budget, the largest loss of each tensor is measured and the others follow from the squared
errors of the numbers, because small errors add to the loss by their squares. How much is measured
follows from counted operations and not from a clock, so the same command gives the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.compress.calibration import TowerProbe, cosine_loss
from engine.compress.choices import Choice, ChoiceItem
from engine.core.model import DualEncoder
from engine.core.progress import Progress, silent
from engine.core.weights import to_array
from engine.errors import WeightsError

OPERATIONS_A_SECOND = 2e10
"""Multiplications that a core of a usual processor does in a second, for the budget."""

_SAMPLED = 1 << 20
"""Numbers of a tensor of which the errors are taken, where not every choice is measured."""

Again = Callable[[Choice, str, Tensor], Tensor]
"""A choice, the name of a tensor and the tensor: what a reader of the file will have."""


@dataclass(frozen=True)
class MeasuredLoss:
    """The loss of one choice.

    Attributes:
        value: mean of 1 - cosine to the original's embeddings, at least 0.
        error: squared error of the numbers, relative to their squares.
        measured: ``False``: it follows from the error and from a measured choice.
    """

    value: float
    error: float
    measured: bool


def stored_again(choice: Choice, tensor: Tensor) -> Tensor:
    """The tensor as a reader of the file will have it, float32.

    Raises:
        WeightsError: its storage cannot hold it.
    """
    if choice.ref is None:
        return tensor.detach().float()
    storage = choice.ref.create()
    array = to_array(tensor)
    found = storage.decode(storage.encode(array), array.shape)
    if not np.isfinite(found).all():
        raise WeightsError("would give it back as infinite or as NaN")
    return torch.from_numpy(np.require(found, np.float32, ["C", "W"])).reshape(tensor.shape)


@contextmanager
def replaced(model: DualEncoder, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[None]:
    """The model with other numbers in some tensors, while inside.

    Args:
        model: is as it was afterwards.
        tensors: names and numbers, asked for one at a time: of a large model the new numbers are
            never in memory twice.
    """
    own = model.state_dict()
    before: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name, tensor in tensors:
                before[name] = own[name].clone()
                own[name].copy_(tensor)
        yield
    finally:
        with torch.no_grad():
            for name, tensor in before.items():
                own[name].copy_(tensor)


def measured_losses(
    model: DualEncoder,
    items: Sequence[ChoiceItem],
    probes: Mapping[str, TowerProbe],
    *,
    budget: float,
    known: Mapping[str, Mapping[str, MeasuredLoss | None]],
    keep: Callable[[str, Mapping[str, MeasuredLoss | None]], None],
    again: Again | None = None,
    progress: Progress = silent,
) -> dict[str, dict[str, MeasuredLoss | None]]:
    """The loss of every choice of every item.

    Args:
        model: the original; its tensors are changed and changed back.
        items: what to measure.
        probes: ``text`` and ``vision``.
        budget: seconds that running the model may take, by counted operations.
        known: items whose losses are known from before, by name of the choice.
        keep: is given each item's losses once they are known.
        again: how a tensor is stored again; by default each number by itself.
        progress: receives how far it is.

    Returns:
        For each item, by the names of its choices; ``None`` for a choice that cannot hold it, or
        than which another one is smaller and nearer.
    """
    every = affordable(model, items, probes, budget)
    total = sum(item.numbers for item in items)
    done = 0
    found: dict[str, dict[str, MeasuredLoss | None]] = {}
    for item in items:
        progress(item.name, done, total)
        names = {choice.name for choice in item.choices}
        if item.name in known and names <= known[item.name].keys():
            found[item.name] = {name: known[item.name][name] for name in names}
        else:
            found[item.name] = _of_item(model, item, probes, again, every=every)
            keep(item.name, found[item.name])
        done += item.numbers
    return found


def affordable(
    model: DualEncoder, items: Sequence[ChoiceItem], probes: Mapping[str, TowerProbe], budget: float
) -> bool:
    """Whether every choice can be measured within a budget of seconds."""
    operations = 0.0
    for item in items:
        for probe in probes_of(item, probes):
            tokens = sum(
                next(iter(batch.values())).shape[0]
                * (batch["ids"].shape[1] if "ids" in batch else 50)
                for batch in probe.inputs
            )
            start = min(probe.segment_of(name) for name in _own(item, probe))
            # The stem's tables are looked up, not multiplied.
            segments = probe.tower.segments()[max(1, start) :]
            weights = sum(p.numel() for segment in segments for p in segment.parameters())
            operations += len(item.choices) * tokens * weights
    return operations / OPERATIONS_A_SECOND <= budget


def _own(item: ChoiceItem, probe: TowerProbe) -> list[str]:
    heads = (f"{probe.name}.", f"{probe.name}_projection.")
    return [name for name in item.tensors if name.startswith(heads)]


def probes_of(item: ChoiceItem, probes: Mapping[str, TowerProbe]) -> list[TowerProbe]:
    """The towers on which an item's tensors lie."""
    return [probe for probe in probes.values() if _own(item, probe)]


def _of_item(
    model: DualEncoder,
    item: ChoiceItem,
    probes: Mapping[str, TowerProbe],
    better: Again | None,
    *,
    every: bool,
) -> dict[str, MeasuredLoss | None]:
    own = model.state_dict()
    # Where every choice is measured, every number is stored again; else some rows tell the errors.
    seen = {n: own[n] if every else some_rows(own[n]) for n in item.tensors}
    size = sum(squares(tensor) for tensor in seen.values()) or 1.0
    errors: dict[str, float | None] = {}
    stored: dict[str, dict[str, Tensor]] = {}
    for choice in item.choices:
        try:
            again = {name: stored_again(choice, seen[name]) for name in item.tensors}
        except WeightsError:
            errors[choice.name] = None
            continue
        errors[choice.name] = sum(squares(again[n], seen[n]) for n in again) / size
        if every:
            stored[choice.name] = again
    for name in _dominated(item, errors):  # another choice is smaller and nearer: not measured
        stored.pop(name, None)
        errors[name] = None
    if not every:  # the largest loss is enough, and the memory is needed
        worst = max((c for c in item.choices if errors[c.name]), default=None,
                    key=lambda c: errors[c.name] or 0.0)  # fmt: skip
        if worst is not None:
            stored[worst.name] = {n: stored_again(worst, own[n]) for n in item.tensors}
    values: dict[str, float] = {}
    choices = {choice.name: choice for choice in item.choices}
    for name, again in stored.items():
        if errors[name] == 0:
            values[name] = 0.0
            continue
        if better is not None:
            again = {n: better(choices[name], n, own[n]) for n in again}
        values[name] = _measure(model, item, again, probes)
    found: dict[str, MeasuredLoss | None] = {}
    for choice in item.choices:
        error = errors[choice.name]
        if error is None:
            found[choice.name] = None
        elif choice.name in values:
            found[choice.name] = MeasuredLoss(values[choice.name], error, True)
        else:
            found[choice.name] = MeasuredLoss(_scaled(values, errors, error), error, error == 0)
    return found


def some_rows(tensor: Tensor) -> Tensor:
    """Evenly spaced rows of a large tensor, and the one with its largest number.

    A storage that cannot hold the tensor cannot hold that row.
    """
    if tensor.dim() < 2 or tensor.numel() <= _SAMPLED:
        return tensor
    step = tensor.numel() // _SAMPLED + 1
    largest = tensor.flatten(1).abs().amax(dim=1).argmax()
    return torch.cat([tensor[::step], tensor[largest : largest + 1]])


def squares(tensor: Tensor, other: Tensor | None = None) -> float:
    """The sum of the squares of a tensor, or of its difference to another one.

    A part at a time: in double precision the whole of a large table would take twice its memory.
    """
    flat, found = tensor.reshape(-1), 0.0
    for start in range(0, len(flat), _SAMPLED):
        part = flat[start : start + _SAMPLED]
        if other is not None:
            part = part - other.reshape(-1)[start : start + _SAMPLED]
        found += float(part.double().square().sum())
    return found


def _scaled(values: Mapping[str, float], errors: Mapping[str, float | None], error: float) -> float:
    """The loss that follows from the measured one with the largest error."""
    most, value = max(((errors[n] or 0.0, v) for n, v in values.items()), default=(0.0, 0.0))
    return value * error / most if most else 0.0


def _dominated(item: ChoiceItem, errors: Mapping[str, float | None]) -> list[str]:
    """Choices with at least the bytes and the error of another one."""
    found = []
    least = float("inf")
    for choice in sorted(item.choices, key=lambda c: (c.bytes, errors[c.name] or 0.0)):
        error = errors[choice.name]
        if error is None:
            continue
        if error >= least:
            found.append(choice.name)
        least = min(least, error)
    return found


def _measure(
    model: DualEncoder,
    item: ChoiceItem,
    again: Mapping[str, Tensor],
    probes: Mapping[str, TowerProbe],
) -> float:
    lost = 0.0
    with replaced(model, again.items()):
        for probe in probes_of(item, probes):
            start = min(probe.segment_of(name) for name in _own(item, probe))
            lost += cosine_loss(probe.reference, probe.embeddings(start))
    return lost
