"""One step: the loss of a batch and its gradient, in one piece or in chunks of the same gradient.

Chunks are GradCache's (Gao et al., 2021, arXiv:2101.06983): the towers run without gradients first,
chunk by chunk; projections and loss run on the whole batch and give the gradient at the features;
then each chunk runs again, with gradients, and passes its part of that gradient on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.contracts.projection import project_state
from engine.contracts.state import State, is_by_row
from engine.contracts.tower import Tower
from engine.contracts.training import Rows
from engine.core.devices import to_device
from engine.core.model import DualEncoder
from engine.train.activations import NoImages
from engine.train.entries import (
    OF_TOKENS,
    of_modality,
    read_by,
    text_ids,
    token_outputs,
)
from engine.train.modalities import Group, ImageModality, TextModality
from engine.train.objective import Objective
from engine.train.reducer import Pending


@dataclass
class Batch:
    """What a step needs of its rows.

    Attributes:
        images: groups of pictures, in the order of the rows.
        texts: [T] int64, token sequences; T = rows, or more where a row has all its queries.
        counts: [rows] int64, texts of each row.
        given: what the data give of each row, [rows, ...], by the names that losses read:
            ``row.id``, ``cluster`` and so on.
        text_clusters: [T] int64, or ``None``.
        shares: rows of the batch in each process; empty where nothing is gathered.
    """

    images: list[Group]
    texts: Rows
    counts: Rows
    given: Mapping[str, NDArray[Any]]
    text_clusters: Rows | None = None
    shares: Sequence[int] = ()


@dataclass
class StepOutput:
    """What a step found.

    Attributes:
        loss: the weighted sum, no dimension, on the device.
        losses: each loss by its name, not weighted.
        batch: the entries that were kept, without gradients: what the losses read, what is
            measured, and ``scale``.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    batch: State


class TowerPass:
    """Runs groups through the trainable rest of a tower.

    Args:
        tower: the tower.
        start: segments that were run already.
        chunked: run twice, group by group, to hold one group's activations at a time.
    """

    def __init__(self, tower: Tower, start: int, *, chunked: bool) -> None:
        self.tower, self.start = tower, start
        self.stop = len(tower.segments())
        trains = any(p.requires_grad for s in tower.segments()[start:] for p in s.parameters())
        self._chunked = chunked and trains
        self._groups: Sequence[Group] = ()
        self._random: list[list[Tensor]] = []
        self._leaves: State = {}

    def forward(self, groups: Sequence[Group], reads: frozenset[str]) -> State:
        """``pooled`` and what else projection and losses read of the tower, [U, ...] each."""
        self._groups, self._random = groups, []
        if not self._chunked or len(groups) == 1:
            self._leaves = {}
            return _joined([self._run(group, reads) for group in groups], groups)
        outs = []
        with torch.no_grad():
            for group in groups:
                self._random.append(_random_state(group))
                outs.append(self._run(group, reads))
        joined = _joined(outs, groups)
        self._leaves = {
            name: tensor.detach().requires_grad_(tensor.dtype.is_floating_point)
            for name, tensor in joined.items()
        }
        return self._leaves

    @property
    def waits(self) -> bool:
        """Whether the gradient at the features is still to be passed on; never in one piece."""
        return bool(self._leaves)

    def backward(
        self, autocast_context: Callable[[], torch.autocast], last_pass: Pending | None = None
    ) -> None:
        """Pass the gradient at the features on, group by group.

        Args:
            autocast_context: of the forward pass.
            last_pass: called before the last group, see :meth:`Step.run`; ``None``: another tower
                comes after this one.
        """
        for group, random in zip(self._groups, self._random, strict=True):
            if last_pass is not None and group is self._groups[-1]:
                last_pass(list(self.tower.parameters()))
            with _RandomRestored(random, group), autocast_context():
                out = self._run(group, frozenset(self._leaves))
            outs, grads = [], []
            for name, leaf in self._leaves.items():
                if leaf.grad is None or not out[name].requires_grad:
                    continue
                grad = leaf.grad[to_device(group.rows, leaf.device)]
                if out[name].dim() > 2:  # tokens: the group is trimmed, the leaf is padded
                    grad = grad[:, : out[name].shape[1]]
                outs.append(out[name])
                grads.append(grad)
            if outs:
                torch.autograd.backward(outs, grads)
        self._leaves = {}

    def _run(self, group: Group, reads: frozenset[str]) -> State:
        out = self.tower.run(group.state, self.start, self.stop, keep=reads)
        kept = {"pooled"} | (reads & out.keys()) - {"ids", "mask"}
        return {name: out[name] for name in kept}


def _joined(outs: Sequence[State], groups: Sequence[Group]) -> State:
    """Groups' rows in the order of the modality's rows; what counts tokens is padded."""
    order = torch.cat([group.rows for group in groups]).argsort()
    found: State = {}
    for name in outs[0]:
        parts = [out[name] for out in outs]
        if len(parts) == 1:
            found[name] = parts[0]
        else:
            if parts[0].dim() > 2:
                longest = max(part.shape[1] for part in parts)
                parts = [_padded(part, longest) for part in parts]
            found[name] = torch.cat(parts)
        found[name] = found[name][to_device(order, found[name].device)]
    return found


def _padded(part: Tensor, length: int) -> Tensor:
    missing = length - part.shape[1]
    return functional.pad(part, [0, 0] * (part.dim() - 2) + [0, missing]) if missing else part


class _RandomRestored:
    """The random state of an earlier moment, inside a ``with``."""

    def __init__(self, states: list[Tensor], group: Group) -> None:
        self._then, self._group = states, group

    def __enter__(self) -> None:
        self._now = _random_state(self._group)
        _set_random(self._then)

    def __exit__(self, *_: object) -> None:
        _set_random(self._now)


def _random_state(group: Group) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if any(tensor.is_cuda for tensor in group.state.values()):
        states.append(torch.cuda.get_rng_state())
    return states


def _set_random(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


class Step:
    """Forward and backward of a batch.

    Args:
        model: the model.
        images: the image modality of the batch.
        texts: the text modality of the batch.
        objective: what is made small.
        autocast_context: gives the autocast of the forward pass.
        together: gives what takes statistics over processes in the forward pass.
        chunked: see the module.
        measured: entries that are kept for measurements, where there are such.
        teacher_forcing: texts go through the projections of their own clusters.
    """

    def __init__(
        self,
        model: DualEncoder,
        images: ImageModality | NoImages,
        texts: TextModality,
        objective: Objective,
        *,
        autocast_context: Callable[[], torch.autocast],
        together: Callable[[], AbstractContextManager[object]] = nullcontext,
        chunked: bool = False,
        measured: frozenset[str] = frozenset(),
        teacher_forcing: bool = False,
    ) -> None:
        self.model, self.images, self.texts, self.objective = model, images, texts, objective
        self._autocast, self._together = autocast_context, together
        self._teacher_forcing = teacher_forcing
        read = read_by(objective.losses.values())
        self._wanted = read | measured
        # Where the losses read the tower alone, what comes after it is not computed.
        self._projects = not of_modality(read, "text") <= {*model.text.outputs, *OF_TOKENS}
        self._image_pass = TowerPass(model.vision, images.start, chunked=chunked)
        self._text_pass = TowerPass(model.text, texts.start, chunked=chunked)

    def run(
        self,
        batch: Batch,
        scale_loss: Callable[[Tensor], Tensor] = lambda x: x,
        last_pass: Pending = lambda pending: None,
    ) -> StepOutput:
        """Compute the loss and add its gradient to the parameters'.

        Args:
            batch: the rows of this process.
            scale_loss: what a gradient scaler does to the loss before it is differentiated.
            last_pass: called before the last pass of backward, with the parameters that still get a
                gradient; ``None`` stands for all.
        """
        with self._autocast(), self._together():
            own = self._image_entries(batch.images)
            own |= self._text_entries(batch)
        own |= self._given_entries(batch)
        found = self.objective(own, batch.shares)
        passes = [each for each in (self._image_pass, self._text_pass) if each.waits]
        if not passes:
            last_pass(None)
        scale_loss(found.total).backward()  # type: ignore[no-untyped-call]
        for each in passes:
            each.backward(self._autocast, last_pass if each is passes[-1] else None)
        seen = {name: tensor.detach() for name, tensor in found.whole.items()}
        losses = {name: value.detach() for name, value in found.losses.items()}
        return StepOutput(found.total.detach(), losses, seen)

    def _given_entries(self, batch: Batch) -> State:
        """What the data give of the rows, as far as it is read."""
        device = self.model.logit_scale.device
        given = dict(batch.given)
        if "text.id" in self._wanted:
            given["text.id"] = text_ids(batch.texts, batch.counts)
        return {
            name: to_device(torch.from_numpy(np.ascontiguousarray(array)), device)
            for name, array in given.items()
            if name in self._wanted
        }

    def _image_entries(self, groups: Sequence[Group]) -> State:
        projection, wanted = self.model.vision_projection, of_modality(self._wanted, "image")
        if not groups or not wanted:
            return {}
        state = self._image_pass.forward(groups, projection.reads | wanted)
        out = project_state(projection, state)
        return _entries("image", out, wanted, len(state["pooled"]))

    def _text_entries(self, batch: Batch) -> State:
        projection, wanted = self.model.text_projection, of_modality(self._wanted, "text")
        reads = (projection.reads if self._projects else frozenset()) | wanted
        different, places = self.texts.distinct(batch.texts)
        found = self._text_pass.forward(self.texts.groups(different), reads)
        place = to_device(torch.from_numpy(np.ascontiguousarray(places)), found["pooled"].device)
        state = {name: tensor[place] for name, tensor in found.items()}
        if self._projects or not reads.isdisjoint(OF_TOKENS):
            state |= self.texts.tokens(batch.texts)
        if "token_embeddings" in reads and "token_embeddings" not in state:
            state["token_embeddings"] = self.model.text.embed(state["ids"])
        if self._teacher_forcing and batch.text_clusters is not None:
            state["cluster"] = to_device(torch.from_numpy(batch.text_clusters), place.device)
        if self._projects:
            state = project_state(projection, state)
        entries = _entries("text", state, wanted, len(place))
        if len(batch.counts) == len(batch.texts):
            return entries
        return self._means(entries, batch.counts)

    def _means(self, entries: State, counts: Rows) -> State:
        """Entries of texts [T, ...] -> of rows: the mean over each row's texts, where it is one."""
        no_mean = {f"text.{name}" for name in token_outputs(self.model.text)}
        no_mean |= {"text.token_embeddings"}
        found = {
            name: _means(tensor, counts)
            for name, tensor in entries.items()
            if tensor.is_floating_point() and name not in no_mean
        }
        if "text.embedding" in found:
            found["text.embedding"] = functional.normalize(found["text.embedding"], dim=-1)
        return found


def _entries(modality: str, state: State, wanted: frozenset[str], rows: int) -> State:
    """Those entries of a modality that are wanted, floats as float32, embeddings of length 1."""
    found: State = {}
    for name in sorted(wanted & state.keys()):
        tensor = state[name]
        if not is_by_row(tensor, rows):
            continue
        tensor = tensor.float() if tensor.dtype.is_floating_point else tensor
        if name == "embedding":
            tensor = functional.normalize(tensor, dim=-1)
        found[f"{modality}.{name}"] = tensor
    return found


def _means(values: Tensor, counts: Rows) -> Tensor:
    """[T, ...] -> [rows, ...]: the mean over each row's own entries."""
    # The counts stay on the host: how many numbers repeating gives is read there, without waiting.
    rows = to_device(torch.from_numpy(np.repeat(np.arange(len(counts)), counts)), values.device)
    each = to_device(torch.from_numpy(counts), values.device)
    sums = values.new_zeros((len(counts), *values.shape[1:])).index_add(0, rows, values)
    return sums / each.view(-1, *[1] * (values.dim() - 1))


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of the whole gradient, no dimension; not finite where any part of it is not.

    Sparse gradients (a table's, which name only some of its rows) are coalesced in place.
    """
    return torch.nn.utils.get_total_norm(_gradient_values(parameters))


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float, norm: Tensor) -> None:
    """Scale the whole gradient down, in place, where its norm is above ``largest``."""
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for values in _gradient_values(parameters):
        values.mul_(factor.to(values.device))


def _gradient_values(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The numbers of each gradient: views, so that they can be changed."""
    found = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            found.append(parameter.grad.values())
        else:
            found.append(parameter.grad)
    return found


def limit_scale(model: DualEncoder, largest: float) -> None:
    """Limit the factor on cosines after a step, in place, where the stage trains it.

    The limit is not part of the graph: clamped there, the scale would get no gradient at its limit
    and never move again. Source: CLIP (Radford et al., 2021, arXiv:2103.00020, section 2.5).

    Args:
        model: whose ``logit_scale``, the logarithm of the factor, is limited.
        largest: most that the factor may be.
    """
    if model.logit_scale.requires_grad:
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(largest))
