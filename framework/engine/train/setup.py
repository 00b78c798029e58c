"""A stage made ready: losses, optimizer, frozen prefixes, batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.cache.budget import Budget
from engine.cache.frozen import FrozenPrefix, open_prefix, probe
from engine.contracts.settings import PluginRef
from engine.contracts.state import State
from engine.contracts.training import Loss, Rows
from engine.core.config.train_schema import TrainSettings
from engine.core.model import DualEncoder
from engine.train.activations import Activations, NoImages
from engine.train.batch_norm import SharedStatistics
from engine.train.data import TrainingRows, seed_of
from engine.train.distribution import Processes
from engine.train.entries import of_side, read_by, sort_of
from engine.train.health import Health, Statistics
from engine.train.meter import MEASURED, Meter
from engine.train.modalities import Group, ImageModality, TextModality
from engine.train.moments import StageOptimizer, stage_optimizer
from engine.train.pixels import PixelFile, PixelReader
from engine.train.plan import StagePlan, epoch_of, make_losses
from engine.train.stages import frozen_prefix, mixes_rows, mixing, named_parameters
from engine.train.state import StageState
from engine.train.step import Batch, Step
from engine.train.teachers import TeacherOutputs

_AHEAD = 2
"""Batches whose pictures are read ahead."""


@dataclass(frozen=True)
class RunContext:
    """What a stage needs of its run, resolved once from the config.

    Attributes:
        model: on its device.
        data: the training data.
        settings: the section ``train`` of the config.
        towers: ``vision`` and ``text``, as the config names them: keys of the activation cache.
        seed: of every random choice.
        cache: folder of the activation cache.
        processes: this process among the others.
        device: of the model.
        dtype: of the matrix products.
        autocast: gives the context of a forward pass.
        note: tells that something happened.
        teachers: what teachers give for the training data.
    """

    model: DualEncoder
    data: TrainingRows
    settings: TrainSettings
    towers: Mapping[str, PluginRef]
    seed: int
    cache: Path
    processes: Processes
    device: torch.device
    dtype: torch.dtype
    autocast: Callable[[], torch.autocast]
    note: Callable[[str], None]
    teachers: TeacherOutputs


class StageRun:
    """Everything of the stage under way.

    Args:
        context: of the run.
        plan: the stage.
        number: of the stage, from 0.
        learned: the state dicts of the losses of stages before, by name.

    Attributes:
        losses: by name, unique within the stage.
        optimizer: with the names of its parameters.
        parameters: those before the gathering, and those after it.
        meter: what is measured.
        health: the steps that were taken.
        statistics: BatchNorm's, before the step under way.
        scores: the last evaluation.
        stopped: a callback asked to end the stage.
    """

    def __init__(
        self,
        context: RunContext,
        plan: StagePlan,
        number: int,
        learned: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        self.plan, self.number, self._context = plan, number, context
        self._data = context.data
        self.scores: dict[str, float] = {}
        self.stopped = False
        self.counts: list[int] = []
        model = context.model
        self.losses = self._make_losses(learned)
        use = plan.settings.optimizer
        named = named_parameters(model, self.losses)
        self.optimizer: StageOptimizer = stage_optimizer(use.create(), named, use.name)
        after = {id(model.logit_scale), id(model.logit_bias)}
        after |= {id(p) for loss in self.losses.values() for p in loss.parameters()}
        every = self.optimizer.parameters
        self.parameters = (
            [p for p in every if id(p) not in after],
            [p for p in every if id(p) in after],
        )
        self._open_sides()
        self.step = Step(
            model,
            self.images,
            self.texts,
            self.losses,
            gather=lambda state: context.processes.gather(state, self.counts),
            autocast_context=context.autocast,
            together=self._together(),
            chunked=plan.settings.chunk_size is not None,
            measured=MEASURED,
            teacher_forcing=plan.settings.teacher_forcing,
        )
        self.meter, self.health = Meter(context.device), Health()
        self.statistics = Statistics(model)

    def state(self) -> StageState:
        """What a checkpoint holds of the stage, beside the losses."""
        return StageState(
            optimizer=self.optimizer.state(),
            meter=self.meter.state(),
            scores=self.scores,
            taken=self.health.taken,
            skipped=self.health.skipped,
            stopped=self.stopped,
        )

    def resume(self, state: StageState) -> None:
        """Take up what :meth:`state` gave."""
        self.optimizer.resume(state.optimizer)
        self.meter.resume(state.meter)
        self.scores = dict(state.scores)
        self.health = Health(state.taken, state.skipped)
        self.stopped = state.stopped

    def _together(self) -> Callable[[], AbstractContextManager[Any]]:
        """What takes BatchNorm's statistics over all processes, where there are both."""
        model = self._context.model
        mixed = mixing(model.vision) or mixing(model.text)
        return SharedStatistics if mixed and self._context.processes.count > 1 else nullcontext

    def _make_losses(self, learned: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Loss]:
        losses = make_losses(self.plan.settings)
        for name, loss in losses.items():
            loss.to(self._context.device)
            carried = learned.get(name)
            if carried and carried.keys() == loss.state_dict().keys():
                loss.load_state_dict(carried)  # what it learned in the stage before
        return losses

    def _open_sides(self) -> None:
        context, settings = self._context, self._context.settings
        model, stage = context.model, self.plan.settings
        self._budget = Budget(context.cache, settings.cache.budget if settings.cache.use else 0)
        chunk = stage.chunk_size
        text = self._prefix("text", 2)
        self.texts = TextModality(
            model.text, self._data.table, text, context.device, chunk,
            whole=mixes_rows(model.text, 0 if text is None else text.stop),
        )  # fmt: skip
        reads_images = bool(of_side(read_by(self.losses.values()), "image"))
        sort = sort_of(self._data.dataset) if reads_images else "none"
        vision = self._prefix("vision", 1) if sort == "images" else None
        views = stage.augment.views if stage.augment else 1
        pictures = len(self._data) * views
        side = model.vision.preprocess.size
        keep = settings.cache.use and vision is None and sort == "images"
        self._reader = PixelReader(
            self._data.dataset, self._data.rows, model.vision.preprocess, stage.augment,
            seed_of(self._context.seed, "pictures"), settings.workers,
            PixelFile(self._budget, pictures, side) if keep else None,
        )  # fmt: skip
        self.images: ImageModality | NoImages
        if sort == "images":
            self.images = ImageModality(
                model.vision, self._reader, vision, pictures, context.device, chunk
            )
        elif sort == "activations":
            self.images = Activations(
                model.vision, self._data.dataset, self._data.rows, context.device
            )
        else:
            self.images = NoImages(model.vision)

    def _prefix(self, side: str, minimum: int) -> FrozenPrefix | None:
        """A tower's frozen prefix, where it is worth keeping: at least so many segments.

        A text's stem alone is a look-up in a table, as is the cache.
        """
        context = self._context
        tower = getattr(context.model, side)
        stop = frozen_prefix(tower)
        cache = context.settings.cache
        if not cache.use or stop < minimum or (tower.mixes_rows is True and tower.training):
            return None  # such a tower may mix rows in its frozen prefix too
        use = self._context.towers[side]
        short, long = _probes(tower, side, context.device)
        given = frozenset({"ids", "mask"} if side == "text" else ())
        keep = getattr(context.model, f"{side}_projection").reads
        keep |= of_side(read_by(self.losses.values()), "image" if side == "vision" else "text")
        entries = probe(tower, stop, short, long, cache.dtype, given=given, keep=keep)
        return open_prefix(
            side, tower, stop, use, entries, self._budget,
            device=context.device, precision=context.dtype, keep=keep, say=context.note,
        )  # fmt: skip

    # ---- batches --------------------------------------------------------------------------------

    def batches(self, epoch: int) -> Sequence[Rows]:
        """The batches of an epoch."""
        position = epoch_of(
            self.plan.settings, self._data, self._context.seed, self.number, epoch, self.plan.epochs
        )
        return self.plan.sampler.batches(position)

    def begin_epoch(self, batches: Sequence[Rows], views: Any, first: int) -> None:
        """Learn the keys of the pictures that other processes read, and begin to read pictures."""
        self._batches = batches
        if self._context.processes.count > 1 and len(self.images.digests):
            known = torch.from_numpy(self.images.digests)
            self.images.digests = self._context.processes.all_reduce_max(known).numpy()
        for ahead in range(_AHEAD):
            self.read_ahead(first + ahead - _AHEAD, views)

    def read_ahead(self, batch: int, views: Any) -> None:
        """Begin to read the pictures of the batch that comes ``_AHEAD`` batches later."""
        coming = batch + _AHEAD
        if 0 <= coming < len(self._batches):
            own = self._context.processes.shard(self._batches[coming])
            self.images.ahead(self.picture_numbers(own, views))

    def picture_numbers(self, rows: Rows, views: Any) -> Rows:
        """The numbers of the rows' views in this epoch."""
        count = self._reader.views
        numbers: Rows = rows * count + (views[rows] * count).astype(np.int64)
        return numbers

    def batch(self, images: list[Group], rows: Rows, drawn: Any) -> Batch:
        """The texts of rows, and what else a step needs."""
        data = self._data
        if self._context.settings.queries == "random":
            texts, counts = data.drawn(rows, drawn), np.ones(len(rows), dtype=np.int64)
        else:
            texts, counts = data.every(rows)
        given: dict[str, NDArray[Any]] = {"row.id": rows}
        text_clusters = None
        if data.weights is not None:
            given["pair.weight"] = data.weights[rows]
        if data.text_clusters is not None and data.clusters is not None:
            text_clusters = data.text_clusters[texts]
            one = self._context.settings.queries == "random"
            given["cluster"] = text_clusters if one else data.clusters[rows]
        given |= self._context.teachers.given(rows, texts, counts)
        return Batch(images, data.sequence[texts], counts, given, text_clusters)

    @property
    def broken(self) -> dict[str, str]:
        """Pictures that could not be read in this process: the reason by the row's id."""
        return self._reader.broken

    def describe(self) -> str:
        """What trains, in words."""
        parameters = sum(p.numel() for p in self.optimizer.parameters)
        words = [f"{parameters:,} parameters train, {self.plan.steps:,} steps"]
        for name, side in (("vision", self.images), ("text", self.texts)):
            if side.prefix is not None:
                segments = len(side.tower.segments())
                words.append(f"{name}: {side.prefix.stop} of {segments} segments computed once")
        return "; ".join(words)

    def summary(self, epochs: int, steps: int) -> dict[str, Any]:
        """The stage's line in history and manifest."""
        settings = self.plan.settings
        seconds, rows = self.meter.spent
        return {
            "name": settings.name,
            "trains": settings.trains.model_dump(mode="json"),
            "epochs": epochs,
            "steps": steps,
            "rows": len(self._data),
            "batch_size": settings.batch_size,
            "optimizer": settings.optimizer.name,
            "lr": max(g["initial_lr"] for g in self.optimizer.optimizer.param_groups),
            "losses": [use.name for use in settings.losses],
            "sampler": settings.sampler.name,
            "parameters": sum(p.numel() for p in self.optimizer.parameters),
            "seconds": round(seconds, 3),
            "samples_per_second": round(rows / max(seconds, 1e-9), 1),
            "loss": self.meter.loss if math.isfinite(self.meter.loss) else None,
            "scores": self.scores,
            "broken_images": len(self._reader.broken),
        }

    def close(self) -> None:
        """Stop reading, free what is held."""
        self._reader.close()
        for side in (self.images, self.texts):
            if side.prefix is not None:
                side.prefix.close()


def _probes(tower: Any, side: str, device: torch.device) -> tuple[State, State]:
    """The smallest inputs that show the shape of a tower's states."""
    if side == "vision":
        pixels = {"pixels": torch.zeros(1, 3, *[tower.preprocess.size] * 2, device=device)}
        return pixels, pixels
    short, long = (
        {
            "ids": torch.zeros(1, n, dtype=torch.int64, device=device),
            "mask": torch.ones(1, n, dtype=torch.bool, device=device),
        }
        for n in (1, 2)
    )
    return short, long
