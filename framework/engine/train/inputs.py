"""The batches of a stage: which rows, their pictures and texts, what data and teachers give.

The loop asks for the :meth:`~StageInputs.order` of an epoch and takes its
:meth:`~StageInputs.batches` one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.budget import Budget
from engine.cache.frozen import FrozenPrefix, open_prefix, probe
from engine.contracts.state import State
from engine.contracts.training import Rows
from engine.core.model import DualEncoder
from engine.data.seeds import seed_of
from engine.data.views import ViewReader
from engine.train.activations import Activations, NoImages
from engine.train.data import TrainingRows, draws
from engine.train.distribution import Processes
from engine.train.entries import of_modality, sort_of
from engine.train.modalities import Group, ImageModality, TextModality
from engine.train.parts import InputParts
from engine.train.pixels import PixelFile, PixelReader
from engine.train.plan import StagePlan, epoch_of
from engine.train.stages import frozen_prefix, mixes_rows
from engine.train.step import Batch
from engine.train.teachers import TeacherOutputs

_AHEAD = 2
"""Batches whose pictures are read ahead: decoding one takes about as long as a step."""


@dataclass(frozen=True)
class Sources:
    """What the batches of a run are made from, the same in all of its stages.

    Attributes:
        parts: of the config.
        model: on its device.
        data: the training data.
        teachers: what teachers give for them.
        processes: this process among the others.
        device: of the model.
        dtype: of the matrix products.
    """

    parts: InputParts
    model: DualEncoder
    data: TrainingRows
    teachers: TeacherOutputs
    processes: Processes
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Drawn:
    """A batch of the order, over all processes.

    Attributes:
        rows: [B] the usable rows that the sampler chose, those of all processes.
        batch: what of it this process computes; ``None`` where too few pictures are whole.
        broken: rows whose picture cannot be read, in all processes together.
    """

    rows: Rows
    batch: Batch | None
    broken: int


class StageInputs:
    """Makes the batches of a stage.

    Args:
        sources: of the run.
        plan: the stage.
        number: of the stage, from 0.
        wanted: the entries that its losses read.

    Attributes:
        images: runs of a batch's pictures through the vision tower.
        texts: the same for its texts.
    """

    images: ImageModality | NoImages

    def __init__(
        self, sources: Sources, plan: StagePlan, number: int, wanted: frozenset[str]
    ) -> None:
        self._sources, self._plan, self._number, self._wanted = sources, plan, number, wanted
        parts, model, data, device = sources.parts, sources.model, sources.data, sources.device
        stage = plan.settings
        self._budget = Budget(parts.cache.folder, parts.cache.budget)
        text = self._prefix("text", 2)
        self.texts = TextModality(
            model.text, data.table, text, device, stage.chunk_size,
            whole=mixes_rows(model.text, 0 if text is None else text.stop),
        )  # fmt: skip
        sort = sort_of(data.dataset) if of_modality(wanted, "image") else "none"
        vision = self._prefix("vision", 1) if sort == "images" else None
        pictures = len(data) * (stage.augment.views if stage.augment else 1)
        keep = parts.cache.use and vision is None and sort == "images"
        side = model.vision.preprocess.size
        seed = seed_of(parts.seed, "pictures")
        self._reader = PixelReader(
            ViewReader(data.dataset, model.vision.preprocess, stage.augment, seed),
            data.rows, parts.workers,
            PixelFile(self._budget, pictures, side) if keep else None,
            kind=parts.readers if sort == "images" else "threads",
        )  # fmt: skip
        if sort == "images":
            self.images = ImageModality(
                model.vision, self._reader, vision, pictures, device, stage.chunk_size
            )
        elif sort == "activations":
            self.images = Activations(model.vision, data.dataset, data.rows, device)
        else:
            self.images = NoImages(model.vision)

    def _prefix(self, name: str, minimum: int) -> FrozenPrefix | None:
        """A tower's frozen prefix, where it is worth keeping: at least so many segments.

        A text's stem alone is a look-up in a table, as is the cache.
        """
        sources, cache = self._sources, self._sources.parts.cache
        tower = getattr(sources.model, name)
        stop = frozen_prefix(tower)
        if not cache.use or stop < minimum or (tower.mixes_rows is True and tower.training):
            return None  # such a tower may mix rows in its frozen prefix too
        short, long = _probes(tower, name, sources.device)
        given = frozenset({"ids", "mask"} if name == "text" else ())
        keep = getattr(sources.model, f"{name}_projection").reads
        keep |= of_modality(self._wanted, "image" if name == "vision" else "text")
        entries = probe(tower, stop, short, long, cache.dtype, given=given, keep=keep)
        return open_prefix(
            name, tower, stop, sources.parts.towers[name], entries, self._budget,
            device=sources.device, precision=sources.dtype, keep=keep,
        )  # fmt: skip

    def order(self, epoch: int) -> Sequence[Rows]:
        """The rows of each batch of an epoch (from 0), over all processes."""
        plan, sources = self._plan, self._sources
        position = epoch_of(
            plan.settings, sources.data, sources.parts.seed, self._number, epoch, plan.epochs
        )
        return plan.sampler.batches(position)

    def next_row(self, order: Sequence[Rows], batch: int) -> dict[str, int] | None:
        """Where the next row is read: its shard, and its row there; ``None`` after the last batch.

        A checkpoint holds it, so a run that goes on knows that its order is the one that it had.
        """
        if batch >= len(order):
            return None
        data = self._sources.data
        row, starts = int(data.rows[order[batch][0]]), data.dataset.shards()
        if starts is None:
            return {"row": row}
        shard = int(np.searchsorted(starts, row, "right")) - 1
        return {"shard": shard, "row": row - int(starts[shard])}

    def batches(self, order: Sequence[Rows], epoch: int, first: int = 0) -> Iterator[Drawn]:
        """The batches of an epoch; pictures are read while earlier batches are computed.

        Args:
            order: of :meth:`order`.
            epoch: from 0.
            first: the first batch that is still to come.
        """
        seed, usable = self._sources.parts.seed, len(self._sources.data)
        processes = self._sources.processes
        texts = draws(seed_of(seed, "queries", self._number, epoch), usable)
        views = draws(seed_of(seed, "views", self._number, epoch), usable)
        if processes.count > 1 and len(self.images.digests):
            # Every process learns which pictures the others have read, and so what the cache has.
            known = torch.from_numpy(self.images.digests)
            self.images.digests = processes.all_reduce_max(known).numpy()
        for rows in order[first : first + _AHEAD]:
            self.images.ahead(self._pictures(processes.shard(rows), views))
        for number in range(first, len(order)):
            if number + _AHEAD < len(order):
                later = processes.shard(order[number + _AHEAD])
                self.images.ahead(self._pictures(later, views))
            own = processes.shard(order[number])
            good, groups = self.images.groups(self._pictures(own, views))
            shares = processes.all_gather(int(good.sum()))[:, 0].tolist()
            # A loss compares rows, and a process without any would have no gradient to sum.
            whole = min(shares) > 0 and sum(shares) > 1
            batch = self._batch(own[good], texts, groups, shares) if whole else None
            yield Drawn(order[number], batch, len(order[number]) - sum(shares))

    def _pictures(self, rows: Rows, views: NDArray[np.float64]) -> Rows:
        """The numbers of the rows' views in this epoch."""
        count = self._reader.views
        numbers: Rows = rows * count + (views[rows] * count).astype(np.int64)
        return numbers

    def _batch(
        self, rows: Rows, drawn: NDArray[np.float64], images: list[Group], shares: Sequence[int]
    ) -> Batch:
        """Rows with their pictures and texts, and what data and teachers give of them."""
        data, one_text = self._sources.data, self._sources.parts.one_text
        if one_text:
            texts, counts = data.drawn(rows, drawn), np.ones(len(rows), dtype=np.int64)
        else:
            texts, counts = data.every(rows)
        given: dict[str, NDArray[Any]] = {"row.id": rows}
        text_clusters = None
        if data.weights is not None:
            given["pair.weight"] = data.weights[rows]
        if data.text_clusters is not None and data.clusters is not None:
            text_clusters = data.text_clusters[texts]
            given["cluster"] = text_clusters if one_text else data.clusters[rows]
        given |= self._sources.teachers.given(rows, texts, counts)
        return Batch(
            images, data.sequence[texts].astype(np.int64), counts, given, text_clusters, shares
        )

    @property
    def broken(self) -> dict[str, str]:
        """Pictures that could not be read in this process: the reason by the row's id."""
        return self._reader.broken

    def describe_prefixes(self) -> list[str]:
        """What is computed once, in words."""
        return [
            f"{name}: {used.prefix.stop} of {len(used.tower.segments())} segments computed once"
            for name, used in (("vision", self.images), ("text", self.texts))
            if used.prefix is not None
        ]

    def close(self) -> None:
        """Stop reading, free what is held."""
        self._reader.close()
        for used in (self.images, self.texts):
            if used.prefix is not None:
                used.prefix.close()


def _probes(tower: Any, name: str, device: torch.device) -> tuple[State, State]:
    """The smallest inputs that show the shape of a tower's states."""
    if name == "vision":
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
