"""What samplers promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.contracts.training import Epoch, Rows
from engine.errors import DataError
from engine.testing.common import call
from engine.testing.core import describe, fault, rule
from engine.testing.subject import Subject

_SAMPLER = "engine.contracts.training.Sampler"
_BATCHES = f"{_SAMPLER}.batches"


class SamplerSubject(Subject):
    """A sampler."""

    def make(self) -> Any:
        """A new one."""
        return self.target(self.settings)

    def epoch(self, **changes: Any) -> Epoch:
        """An epoch of 103 rows in clusters of different sizes, some rows without one."""
        clusters = np.random.default_rng(5).integers(-1, 5, 103).astype(np.int64)
        own = Epoch(index=0, count=3, rows=103, batch_size=8, seed=11, clusters=clusters)
        own = dataclasses.replace(own, **changes)
        shards = np.array([0, own.rows // 3, own.rows // 2, own.rows], dtype=np.int64)
        return dataclasses.replace(own, shards=shards)

    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """Of a new sampler."""
        found: Sequence[Rows] = self.make().batches(epoch)
        return found


SUBJECT = SamplerSubject


@rule(
    contract=_BATCHES,
    says="each of exactly ``batch_size`` different rows",
    why="A row twice in a batch is compared with itself as if it were another; training counts its"
    " steps by full batches.",
    needs=("settings_valid",),
)
def batches(it: SamplerSubject) -> None:
    """Full batches of different rows of the data set."""
    epoch = it.epoch()
    found = call(it.batches, epoch, expected="batches(epoch) to give the batches of an epoch")
    if not isinstance(found, Sequence) or not found:
        fault("a sequence of batches, at least one", f"{type(found).__name__} {len(found)}"
              if isinstance(found, Sequence) else f"a {type(found).__name__}")  # fmt: skip
    for number, rows in enumerate(found):
        if not isinstance(rows, np.ndarray) or rows.dtype != np.int64 or rows.ndim != 1:
            shown = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows)
            fault("numpy arrays [batch_size] int64", f"batch {number} is {shown}")
        if len(rows) != epoch.batch_size:
            fault(f"{epoch.batch_size} rows in every batch (leave out what does not fill the last)",
                  f"batch {number} of {len(found)} has {len(rows)}")  # fmt: skip
        if rows.min() < 0 or rows.max() >= epoch.rows:
            fault(f"rows from 0 to {epoch.rows - 1}", f"batch {number} has rows {rows.min()} to"
                  f" {rows.max()}")  # fmt: skip
        if len(set(rows.tolist())) != len(rows):
            fault("different rows in a batch", f"batch {number} has a row twice: {rows.tolist()}")


@rule(
    contract=_BATCHES,
    says="A row is in at most one batch of an epoch",
    why="An epoch is one pass over the data: rows that come again push others out.",
    needs=("batches",),
)
def once_an_epoch(it: SamplerSubject) -> None:
    """No row comes twice in an epoch."""
    rows, counts = np.unique(np.concatenate(list(it.batches(it.epoch()))), return_counts=True)
    if counts.max() > 1:
        worst = int(rows[counts.argmax()])
        fault(
            "every row at most once in an epoch",
            f"row {worst} comes {counts.max()} times; {int((counts > 1).sum())} rows repeat",
        )


@rule(
    contract=_SAMPLER,
    says="A pure function of the epoch, so that a run is resumed by asking again",
    why="Each process and each worker asks by itself and must see the same batches; a run that goes"
    " on after a crash asks for the middle epoch first.",
    needs=("batches",),
)
def pure(it: SamplerSubject) -> None:
    """Same epoch, same batches: again, in a new sampler, after other epochs, after other draws."""
    epoch = it.epoch(index=1, seed=23)
    sampler = it.make()
    for index in range(2):
        sampler.batches(it.epoch(index=index, seed=50 + index))
    later = sampler.batches(epoch)
    np.random.seed(99)
    for what, found in (
        ("a second time", sampler.batches(epoch)),
        ("of a new sampler that was asked for no epoch before", it.batches(epoch)),
    ):
        if not _equal(found, later):
            fault(f"the same batches {what}", "they differ: keep no state between epochs, and draw"
                  " from np.random.default_rng(epoch.seed) alone")  # fmt: skip
    clusters = it.epoch().clusters
    assert clusters is not None
    kept = clusters.copy()
    it.batches(it.epoch(clusters=clusters))
    if not np.array_equal(kept, clusters):
        fault("epoch.clusters to stay as it is", "the sampler changed it in place")


def _equal(one: Sequence[Rows], other: Sequence[Rows]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


@rule(
    contract=_BATCHES,
    says="How many batches there are follows from ``rows`` and ``batch_size`` alone",
    why="Training asks for the first epoch and counts the steps of the whole stage by it; learning"
    " rate and progress follow from that.",
    needs=("batches",),
)
def same_count(it: SamplerSubject) -> None:
    """Every epoch has as many batches."""
    counts = [len(it.batches(it.epoch(index=i, seed=i))) for i in range(3)]
    if len(set(counts)) > 1:
        fault("as many batches in every epoch", f"{counts} in three epochs of one stage")


@rule(
    contract=_BATCHES,
    says="DataError: fewer rows than a batch, or the sampler needs clusters and there are none.",
    why="The user learns of it before training starts, instead of a run of no steps.",
    needs=("batches",),
)
def bad_input(it: SamplerSubject) -> None:
    """Too few rows are a DataError; so are missing clusters, where it needs them."""
    few = it.epoch(rows=5, clusters=np.zeros(5, np.int64))
    expected = "a DataError for 5 rows and batches of 8"
    try:
        found = it.batches(few)
    except DataError:
        pass
    except Exception as error:
        fault(expected, f"another error: {describe(error)}")
    else:
        fault(expected, f"no error; {len(found)} batches")
    try:
        it.batches(it.epoch(clusters=None))
    except DataError:
        pass
    except Exception as error:
        fault("batches, or a DataError, where the config has no clusters", describe(error))


RULES = (batches, once_an_epoch, pure, same_count, bad_input)
