"""What training is made of beside the model: losses, samplers, loggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.contracts.training_settings import LoggerSettings, LossSettings, SamplerSettings

Rows = NDArray[np.int64]
"""Indices of a data set's rows, [n] int64."""


class Loss(nn.Module, ABC):
    """What training makes small. A loss may have parameters of its own (a temperature, say).

    It names the entries that it reads, of both modalities. It always sees the whole batch of all
    processes: entries are gathered before it is called, with gradients, and every process
    computes the same number. So a loss needs to know nothing of processes, of the chunks that a
    large batch is computed in, nor of the cache of frozen segments. A loss that costs more than a
    pass over its rows can offer its terms row by row (:attr:`by_rows`): several processes then
    share the work. Nothing in a loss should wait for the device (``.item()``, ``bincount``, a
    boolean index): training reads numbers only every ``log_every`` steps.

    ======================= ================ ===================================================
    entry                   shape            what it is
    ======================= ================ ===================================================
    ``image.embedding``     [N, embed_dim]   rows of length 1
    ``text.embedding``      [N, embed_dim]   rows of length 1; row i of both belong together
    ``image.pooled``        [N, width]       the features of the vision tower
    ``text.pooled``         [N, width]       the features of the text encoder
    ``image.NAME``          [N, ...]         any of the tower's ``outputs`` (``image.hidden``), and
                                             what its projection adds
    ``text.NAME``           [N, ...]         the same for texts (``text.hidden`` [N, L, width],
                                             ``text.router_logits`` [N, clusters])
    ``text.mask``           [N, L] bool      True on tokens; what stands elsewhere has no meaning
    ``text.ids``            [N, L] int64     the tokens
    ``text.token_embeddings`` [N, L, E]      ``TextEncoder.embed`` of the tokens
    ``scale``               []               the factor on cosines, ``exp(logit_scale)``
    ``bias``                []               ``logit_bias``, where the model has one
    ``row.id``              [N] int64        the number of the row among the training rows
    ``text.id``             [N] int64        equal where the texts of two rows are equal
    ``pair.weight``         [N]              how much the row counts, where the data say so
    ``cluster``             [N] int64        the cluster of the text, -1 where it is not known
    ======================= ================ ===================================================

    Floats are float32. Where ``train.queries`` is ``mean``, an entry of the text modality is the
    mean over the texts of a row, and those that count tokens are not given.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """Entries that this loss needs. A config whose model or data do not give them is refused before
    training starts."""

    reads_if_given: ClassVar[frozenset[str]] = frozenset()
    """Entries that this loss also reads where the model and the data give them."""

    by_rows: ClassVar[bool] = False
    """Whether the loss is a sum of terms of its rows, which :meth:`part` gives. Where it is not,
    every process computes the loss of the whole batch."""

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.settings = settings

    def needed(self) -> frozenset[str]:
        """The entries that this loss needs: :attr:`reads`, unless they depend on its settings."""
        return self.reads

    def chance(self, rows: int) -> float | None:
        """What this loss is for a model that cannot tell the rows of a batch apart.

        A run whose loss never gets below it has learned nothing, and training warns of that.

        Args:
            rows: of the batch.

        Returns:
            ``None`` where there is no such number.
        """
        return None

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The mean loss of a batch, a tensor of no dimension, not yet times ``settings.weight``.

        It is finite, and differentiable in every entry that it depends on. A loss that compares
        images with texts is smaller where row i of both belongs together. The batch is not changed.

        Args:
            batch: the entries of :meth:`needed`, those of :attr:`reads_if_given` that there are,
                and no others.
        """

    def part(self, batch: Mapping[str, Tensor], own: slice) -> Tensor:
        """The terms of some rows, each with all columns: over a partition they add up to the loss.

        For a batch of N rows on P processes, each computes N/P x N cosines instead of N x N
        (open_clip's ``local_loss``). Asked only where :attr:`by_rows` says so.

        Args:
            batch: the whole batch, as :meth:`forward` gets it.
            own: the rows; ``range(N)[own]`` are their places.
        """
        raise NotImplementedError(f"{type(self).__name__} needs the whole batch")


@dataclass(frozen=True)
class Epoch:
    """What a sampler knows of the epoch that it lays out.

    Attributes:
        index: of the epoch within its stage, from 0.
        count: epochs of the stage.
        rows: number of rows of the data set.
        batch_size: rows of a batch, of all processes together.
        seed: of this epoch's order; the same seed, the same order.
        clusters: [rows] int64, the cluster of each row; ``None`` where the config has none.
        shards: [shards + 1] int64, where the rows of each shard begin, the last number is ``rows``;
            ``None`` where the data are not in shards.
    """

    index: int
    count: int
    rows: int
    batch_size: int
    seed: int
    clusters: Rows | None = None
    shards: Rows | None = None


class Sampler(ABC):
    """Chooses the rows of every batch.

    A pure function of the epoch, so that a run is resumed by asking again, and any number of
    workers or processes sees the same batches.
    """

    def __init__(self, settings: SamplerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def batches(self, epoch: Epoch) -> Sequence[Rows]:
        """The batches of an epoch in order, each of exactly ``batch_size`` different rows.

        A row is in at most one batch of an epoch. Rows that do not fill a last batch are left out
        (another epoch's order gives others). How many batches there are follows from ``rows`` and
        ``batch_size`` alone: training counts the steps of a stage by its first epoch. The epoch is
        not changed.

        Raises:
            DataError: fewer rows than a batch, or the sampler needs clusters and there are none.
        """


@dataclass(frozen=True)
class RunInfo:
    """What a logger is given at the start of a run (or where it goes on).

    Attributes:
        folder: the run's folder; a logger that writes files writes them here.
        name: the model's name.
        steps: steps of the whole run.
        step: the step that it goes on from; 0 for a fresh run. Whatever was logged for later
            steps before a crash will be logged again.
        config: the resolved config, JSON types.
        stages: name and epochs of each stage.
    """

    folder: Path
    name: str
    steps: int
    step: int
    config: Mapping[str, object]
    stages: Sequence[tuple[str, int]] = ()


class Logger(ABC):
    """Receives what training measures. Called in the main process only.

    What it raises ends the run. To draw on the terminal, use :func:`engine.core.terminal.console`
    and :func:`engine.core.terminal.live`: of what is printed otherwise, escape sequences become
    visible.
    """

    def __init__(self, settings: LoggerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """Called once before the first step."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step: ``loss``, ``lr``, ``samples_per_second``, ``accuracy`` ...

        ``stage`` and ``epoch`` are where the step is, both from 1.
        A number may be NaN or infinite, and a name may be new. The mapping is not changed.
        """

    def note(self, step: int, text: str) -> None:  # noqa: B027 - most loggers have numbers only
        """Something happened: a stage began, a checkpoint was written, a batch was not finite."""

    def close(self) -> None:  # noqa: B027
        """Called at the end, also after an error or Ctrl-C.

        It may be called again, and right after :meth:`start`; a second call does nothing.
        """
