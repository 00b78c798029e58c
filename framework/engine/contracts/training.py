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

from engine.contracts.state import State
from engine.contracts.training_settings import LoggerSettings, LossSettings, SamplerSettings

Rows = NDArray[np.int64]
"""Indices of a data set's rows, [n] int64."""


class Loss(nn.Module, ABC):
    """What training makes small. A loss may have parameters of its own (SigLIP's bias, say).

    It always sees the whole batch of all processes: embeddings are gathered before it is called,
    with gradients, and every process computes the same number. So a loss needs to know nothing of
    processes, nor of the chunks that a large batch is computed in.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    """Entries that this loss needs beside ``image``, ``text`` and ``scale``: ``cluster``, or what
    the text side's projection adds to its state (``router_logits``, say). A config whose model or
    data do not give them is refused before training starts."""

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def forward(self, batch: State) -> Tensor:
        """The mean loss of a batch, a tensor of no dimension, not yet times ``settings.weight``.

        It is finite, and differentiable in every entry that it depends on. A loss that compares
        images with texts is smaller where row i of both belongs together. The batch is not changed.

        Args:
            batch: ``image`` and ``text`` [N, J] float, rows of length 1, row i of both belonging
                together; ``scale`` [], the factor on cosines (``exp(logit_scale)``);
                ``cluster`` [N] int64, the cluster of each row's text (-1 where it is not known),
                where the config has clusters; and whatever entries the text projection added,
                [N, ...].
        """


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
    """

    index: int
    count: int
    rows: int
    batch_size: int
    seed: int
    clusters: Rows | None = None


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
    """What a logger is told at the start of a run (or where it goes on).

    Attributes:
        folder: the run's folder; a logger that writes files writes them here.
        name: the model's name.
        steps: steps of the whole run.
        step: the step that it goes on from; 0 for a fresh run. Whatever was logged for later
            steps before a crash will be logged again.
        config: the resolved config, JSON types.
    """

    folder: Path
    name: str
    steps: int
    step: int
    config: Mapping[str, object]


class Logger(ABC):
    """Receives what training measures. Called in the main process only.

    What it raises ends the run. To draw on the terminal, use :func:`engine.terminal.console` and
    :func:`engine.terminal.live`: of what is printed otherwise, escape sequences become visible.
    """

    def __init__(self, settings: LoggerSettings) -> None:
        self.settings = settings

    @abstractmethod
    def start(self, run: RunInfo) -> None:
        """Called once before the first step."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step: ``loss``, ``lr``, ``samples_per_second``, ``accuracy`` ...

        A number may be NaN or infinite, and a name may be new. The mapping is not changed.
        """

    def note(self, step: int, text: str) -> None:  # noqa: B027 - most loggers have numbers only
        """Something happened: a stage began, a checkpoint was written, a batch was not finite."""

    def close(self) -> None:  # noqa: B027
        """Called at the end, also after an error or Ctrl-C.

        It may be called again, and right after :meth:`start`; a second call does nothing.
        """
