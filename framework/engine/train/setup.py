"""A stage made ready: its length, losses, optimizer, frozen prefixes, the sides of its batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from engine.cache.budget import Budget
from engine.cache.frozen import FrozenPrefix, open_prefix, probe
from engine.config.schema import EngineConfig
from engine.config.train_schema import StageSettings
from engine.contracts.settings import TextEncoderSettings
from engine.contracts.state import State, is_by_row
from engine.contracts.training import Epoch, Loss, Rows, Sampler
from engine.errors import ConfigError, DataError
from engine.model import DualEncoder
from engine.train.batch_norm import SharedStatistics
from engine.train.data import TrainingRows, seed_of
from engine.train.health import Health, Statistics
from engine.train.meter import Meter
from engine.train.pixels import PixelFile, PixelReader
from engine.train.sides import Group, ImageSide, TextSide
from engine.train.stages import (
    check_mixing,
    freeze,
    frozen_prefix,
    mixes_rows,
    mixing,
    optimizer_for,
)
from engine.train.step import Batch, Step

if TYPE_CHECKING:
    from engine.train.loop import Trainer

_BASIC = frozenset({"image", "text", "scale"})
_AHEAD = 2
"""Batches whose pictures are read ahead."""


@dataclass(frozen=True)
class StagePlan:
    """A stage and its length.

    Attributes:
        settings: the stage.
        where: its dotted path in the config.
        sampler: chooses its batches.
        epochs: passes over the data, the last one perhaps not whole.
        steps: batches in all.
    """

    settings: StageSettings
    where: str
    sampler: Sampler
    epochs: int
    steps: int


def epoch_of(
    settings: StageSettings, data: TrainingRows, seed: int, stage: int, epoch: int, count: int
) -> Epoch:
    """What a sampler is told of an epoch."""
    return Epoch(
        index=epoch,
        count=count,
        rows=len(data),
        batch_size=settings.batch_size,
        seed=seed_of(seed, "order", stage, epoch),
        clusters=data.clusters,
    )


def plan_stages(
    config: EngineConfig, data: TrainingRows, model: DualEncoder, processes: int = 1
) -> list[StagePlan]:
    """Every stage with its length; all that can be refused is refused here, before any step.

    Args:
        config: with ``train``.
        data: the training data.
        model: on its device; module modes and ``requires_grad`` are those of the last stage after.
        processes: that train together.

    Raises:
        ConfigError: a stage trains nothing, names blocks that are not there, splits batches whose
            rows are mixed, or has a loss that needs what the model or the data do not give.
        DataError: fewer rows than a batch.
    """
    assert config.train is not None
    plans = []
    given = _given(model, data)
    for number, settings in enumerate(config.train.stages):
        where = f"train.stages.{number}"
        freeze(model, settings.trains, where)
        check_mixing(model, settings, where, processes, compiled=config.train.compile)
        for use in settings.losses:
            missing = use.target().reads - given - _BASIC
            if missing:
                what = sorted(missing)[0]
                hint = "add a `clusters:` section" if what == "cluster" else (
                    "use the projection `clustered` on the text side")  # fmt: skip
                raise ConfigError(
                    f"{where}.losses: the loss `{use.name}` needs `{what}`, which neither the"
                    " model nor the data give",
                    hint=f"{hint}, or leave the loss out",
                )
        sampler: Sampler = settings.sampler.create()
        known = settings.epochs or 1
        batches = sampler.batches(epoch_of(settings, data, config.seed, number, 0, known))
        if not batches:
            raise DataError(f"{where}: the sampler `{settings.sampler.name}` gives no batch")
        steps = settings.steps or known * len(batches)
        epochs = settings.epochs or math.ceil(steps / len(batches))
        plans.append(StagePlan(settings, where, sampler, epochs, steps))
    return plans


def _given(model: DualEncoder, data: TrainingRows) -> frozenset[str]:
    """What a loss may read beside the embeddings: what the text projection adds, and clusters."""
    model.eval()
    state = data.table.padded([0])
    state = {name: tensor.to(model.logit_scale.device) for name, tensor in state.items()}
    with torch.no_grad():
        out = model.text_state(state)
    added = {name for name, tensor in out.items() if is_by_row(tensor, len(state["ids"]))}
    found = (added - state.keys()) | ({"cluster"} if data.clusters is not None else set())
    return frozenset(found)


class StageRun:
    """Everything of the stage under way.

    Attributes:
        losses: by name, unique within the stage.
        names: of the parameters that train, in the optimizer's order; ``ordered`` are they.
        parameters: those before the gathering, and those after it.
        every: all that train.
        health: the steps that were taken.
        statistics: BatchNorm's, before the step under way.
        scores: the last judgement.
    """

    def __init__(self, trainer: Trainer, plan: StagePlan, number: int) -> None:
        self.plan, self.number, self._trainer = plan, number, trainer
        self._data, self._config = trainer.data, trainer.config
        self.scores: dict[str, float] = {}
        self.counts: list[int] = []
        self.losses = self._make_losses()
        model = trainer.model
        named = [*model.named_parameters()]
        own = [
            (f"loss.{n}.{k}", p) for n, m in self.losses.items() for k, p in m.named_parameters()
        ]
        self.optimizer, self.names = optimizer_for([*named, *own], plan.settings.optimizer)
        self.ordered = [p for g in self.optimizer.param_groups for p in g["params"]]
        self.every: list[nn.Parameter] = list(self.ordered)
        after = {id(model.logit_scale), *(id(p) for _, p in own)}
        self.parameters = (
            [p for p in self.every if id(p) not in after],
            [p for p in self.every if id(p) in after],
        )
        self._open_sides()
        self.step = Step(
            model,
            self.images,
            self.texts,
            self.losses,
            gather=lambda state: trainer.processes.gather(state, self.counts),
            precise=trainer.precise,
            together=self._together(),
            chunked=plan.settings.chunk_size is not None,
            teacher_forcing=plan.settings.teacher_forcing,
        )
        self.meter, self.health = Meter(trainer.device), Health()
        self.statistics = Statistics(model)

    def _together(self) -> Callable[[], AbstractContextManager[Any]]:
        """What takes BatchNorm's statistics over all processes, where there are both."""
        model = self._trainer.model
        mixed = mixing(model.vision) or mixing(model.text)
        return SharedStatistics if mixed and self._trainer.processes.count > 1 else nullcontext

    def _make_losses(self) -> dict[str, Loss]:
        found: dict[str, Loss] = {}
        for use in self.plan.settings.losses:
            name = use.name if use.name not in found else f"{use.name}_{len(found)}"
            found[name] = use.create().to(self._trainer.device)
            carried = self._trainer.loss_states.get(name)
            if carried and carried.keys() == found[name].state_dict().keys():
                found[name].load_state_dict(carried)  # what it learned in the stage before
        return found

    def _open_sides(self) -> None:
        trainer, settings = self._trainer, self._trainer.settings
        model, stage = trainer.model, self.plan.settings
        folder = settings.cache.folder or trainer.folder / "cache"
        self._budget = Budget(folder, settings.cache.budget if settings.cache.use else 0)
        chunk = stage.chunk_size
        text = self._prefix("text", 2)
        self.texts = TextSide(
            model.text, self._data.table, text, trainer.device, chunk,
            whole=mixes_rows(model.text, 0 if text is None else text.stop),
        )  # fmt: skip
        vision = self._prefix("vision", 1)
        views = stage.augment.views if stage.augment else 1
        pictures = len(self._data) * views
        side = model.vision.preprocess.size
        keep = settings.cache.use and vision is None
        self._reader = PixelReader(
            self._data.dataset, self._data.rows, model.vision.preprocess, stage.augment,
            seed_of(self._config.seed, "pictures"), settings.workers,
            PixelFile(self._budget, pictures, side) if keep else None,
        )  # fmt: skip
        self.images = ImageSide(model.vision, self._reader, vision, pictures, trainer.device, chunk)

    def _prefix(self, side: str, least: int) -> FrozenPrefix | None:
        """A tower's frozen prefix, where it is worth keeping: at least so many segments.

        A text's stem alone is a look-up in a table, as is the cache.
        """
        trainer = self._trainer
        tower = getattr(trainer.model, side)
        stop = frozen_prefix(tower)
        cache = trainer.settings.cache
        if not cache.use or stop < least or (tower.mixes_rows is True and tower.training):
            return None  # such a tower may mix rows in its frozen stretch too
        use = getattr(self._config.model, side)
        short, long = _probes(tower, side, trainer.device)
        given = frozenset({"ids", "mask"} if side == "text" else ())
        reads = getattr(trainer.model, f"{side}_projection").reads
        entries = probe(tower, stop, short, long, cache.dtype, given=given, reads=reads)
        return open_prefix(
            side, tower, stop, use, entries, self._budget,
            device=trainer.device, precision=trainer.dtype, say=trainer.note,
        )  # fmt: skip

    # ---- batches ---------------------------------------------------------------------------------

    def batches(self, epoch: int) -> Sequence[Rows]:
        """The batches of an epoch."""
        told = epoch_of(
            self.plan.settings, self._data, self._config.seed, self.number, epoch, self.plan.epochs
        )
        return self.plan.sampler.batches(told)

    def begin_epoch(self, batches: Sequence[Rows], views: Any, first: int) -> None:
        """Learn the keys of the pictures that other processes read, and begin to read pictures."""
        self._batches = batches
        if self._trainer.processes.count > 1 and len(self.images.digests):
            known = torch.from_numpy(self.images.digests)
            self.images.digests = self._trainer.processes.largest(known).numpy()
        for ahead in range(_AHEAD):
            self.read_ahead(first + ahead - _AHEAD, views)

    def read_ahead(self, batch: int, views: Any) -> None:
        """Begin to read the pictures of the batch that comes ``_AHEAD`` batches later."""
        coming = batch + _AHEAD
        if 0 <= coming < len(self._batches):
            own = self._trainer.processes.part(self._batches[coming])
            self.images.ahead(self.picture_numbers(own, views))

    def picture_numbers(self, rows: Rows, views: Any) -> Rows:
        """The numbers of the rows' views in this epoch."""
        count = self._reader.views
        numbers: Rows = rows * count + (views[rows] * count).astype(np.int64)
        return numbers

    def batch(self, images: list[Group], rows: Rows, drawn: Any) -> Batch:
        """The texts of rows, and what else a step needs."""
        data = self._data
        if self._trainer.settings.queries == "random":
            texts, counts = data.drawn(rows, drawn), np.ones(len(rows), dtype=np.int64)
        else:
            texts, counts = data.every(rows)
        clusters = text_clusters = None
        if data.text_clusters is not None and data.clusters is not None:
            text_clusters = data.text_clusters[texts]
            one = self._trainer.settings.queries == "random"
            clusters = text_clusters if one else data.clusters[rows]
        return Batch(images, data.sequence[texts], counts, clusters, text_clusters)

    @property
    def broken(self) -> dict[str, str]:
        """Pictures that could not be read in this process: the reason by the row's id."""
        return self._reader.broken

    def describe(self) -> str:
        """What trains, in words."""
        parameters = sum(p.numel() for p in self.every)
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
            "lr": settings.optimizer.lr,
            "losses": [use.name for use in settings.losses],
            "sampler": settings.sampler.name,
            "parameters": sum(p.numel() for p in self.every),
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
    settings = tower.settings
    assert isinstance(settings, TextEncoderSettings)
    short, long = (
        {
            "ids": torch.zeros(1, n, dtype=torch.int64, device=device),
            "mask": torch.ones(1, n, dtype=torch.bool, device=device),
        }
        for n in (1, 2)
    )
    return short, long
