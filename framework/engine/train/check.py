"""What training would refuse, found in seconds: ``engine check``. Nothing is written.

Every check runs, whatever the others found, so that all faults come at once. The model is built in
memory; of the training data the first rows are read, and one small batch goes through each stage,
forward and backward. Clusters are not fitted (that may take minutes): their n-grams are counted,
and rows get the numbers of clusters in turn.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine.clusters.assign import DatasetLabels
from engine.clusters.ngrams import most_frequent
from engine.contracts.dataset import Dataset, Record
from engine.core.build import Built, build
from engine.core.config.schema import EngineConfig
from engine.core.progress import Progress, silent
from engine.core.size import config_size
from engine.errors import ConfigError, DataError, EngineError, at_setting
from engine.train.data import TrainingRows
from engine.train.distribution import Processes
from engine.train.loop import Trainer
from engine.train.parts import resolve
from engine.train.setup import StageRun
from engine.train.stages import freeze

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_BATCH = 8
"""Rows of the batch that goes through the model."""


@dataclass
class Checked:
    """What was looked at.

    Attributes:
        found: what is in order: the part, and a line about it.
        errors: what training would refuse.
    """

    found: list[tuple[str, str]] = field(default_factory=list)
    errors: list[EngineError] = field(default_factory=list)

    @contextmanager
    def part(self) -> Iterator[None]:
        """An error raised inside is kept, and the other checks go on."""
        try:
            yield
        except EngineError as error:
            self.errors.append(error)


def check_limits(config: EngineConfig, checked: Checked) -> None:
    """The exact bytes of the weights against the config's limit, before anything is built."""
    with checked.part(), at_setting("limits.weights"):
        report = config_size(config)
        report.check()
        limit = "no limit" if report.limit is None else f"of {report.limit:,} allowed"
        checked.found.append(("limits", f"{report.total:,} bytes of weights, {limit}"))


def check(config: EngineConfig, progress: Progress = silent, *, batch: bool = True) -> Checked:
    """Everything that training would refuse.

    Args:
        config: any config.
        progress: receives what is being done.
        batch: also build the model, and send a batch through each stage.
    """
    checked = Checked()
    check_limits(config, checked)
    with checked.part():
        resolve(config, Path("run"))
    train = config.train
    if train is not None:
        for kind, uses in (("loggers", train.loggers), ("callbacks", train.callbacks)):
            for number, use in enumerate(uses):
                with checked.part(), at_setting(f"train.{kind}.{number}"):
                    use.target()
    for number, use in enumerate(config.data.evaluate):
        progress(f"data.evaluate.{number}")
        with checked.part(), at_setting(f"data.evaluate.{number}"):
            _look_at(f"data.evaluate.{number}", use.create(), checked)
    dataset: Dataset | None = None
    if config.data.train is not None:
        progress("data.train")
        with checked.part(), at_setting("data.train"):
            opened: Dataset = config.data.train.create()
            _look_at("data.train", opened, checked)
            dataset = opened
    if dataset is not None and config.clusters is not None:
        with checked.part(), at_setting("clusters"):
            _check_clusters(config, dataset, checked)
    if train is not None and dataset is not None and batch:
        with checked.part():
            _check_batches(config, dataset, checked, progress)
    return checked


def _look_at(name: str, dataset: Dataset, checked: Checked) -> None:
    """A data set that has rows, and whose first picture can be read.

    Raises:
        DataError: it has no row.
    """
    if not len(dataset):
        raise DataError(f"data set `{dataset.name}` has no row")
    dataset.record(0)
    if dataset.activations is None and dataset.has_images:
        dataset.image(0)
    checked.found.append((name, f"`{dataset.name}`: {len(dataset):,} rows"))


def _check_clusters(config: EngineConfig, dataset: Dataset, checked: Checked) -> None:
    """Enough different n-grams for the clusters that the config asks for.

    Raises:
        DataError: no words, or fewer n-grams than clusters.
    """
    settings = config.clusters
    assert settings is not None
    few = _First(dataset, 10_000)
    grams = most_frequent(few.texts, settings.ngram, settings.most_frequent)
    count = settings.clusterer.settings.cluster_count()
    found = len(grams.texts)
    if count is not None and found < count and len(few) == len(dataset):
        raise DataError(f"{found} different n-grams for {count} clusters")
    checked.found.append(("clusters", f"{found:,} n-grams in {len(few):,} rows"))


def _check_batches(
    config: EngineConfig, dataset: Dataset, checked: Checked, progress: Progress
) -> None:
    """Build the model, plan the stages, and send a batch through each.

    Raises:
        EngineError: see :meth:`engine.train.loop.Trainer.run`.
    """
    assert config.train is not None
    progress("building the model")
    built: Built = build(config, progress)
    parameters = sum(p.numel() for p in built.model.parameters())
    checked.found.append(("model", f"{parameters:,} parameters"))
    clusters = None
    if config.clusters is not None:
        clusters = config.clusters.clusterer.settings.cluster_count() or _projections(config)
    rows = 2 * max(stage.batch_size for stage in config.train.stages) * (clusters or 1)
    few = _First(dataset, rows)
    cache = config.train.cache.model_copy(update={"folder": None})
    train = config.train.model_copy(update={"cache": cache})
    with tempfile.TemporaryDirectory(prefix="engine-check-") as scratch:
        parts = resolve(config.model_copy(update={"train": train}), Path(scratch))
        with at_setting("data.train"):
            data = TrainingRows(
                few,
                built.tokenizer,
                parts.data.max_tokens,
                None if clusters is None else _in_turn(few, clusters),
                languages=parts.data.languages,
                taught_in=parts.data.taught_in,
            )
        callbacks = tuple((use.name, use.create()) for use in parts.callbacks)
        evaluated = (dict) if config.data.evaluate else None
        trainer = Trainer(
            built, data, Path(scratch), parts=parts, evaluator=evaluated, callbacks=callbacks
        )
        plans = trainer.prepare()
        trainer.sources.teachers.compute(plans, Processes(), progress)
        for number, plan in enumerate(plans):
            progress(f"one batch through stage {number + 1}, {plan.settings.name}")
            freeze(trainer.model, plan.settings.trains, plan.where)
            stage = StageRun(trainer.sources, trainer.autocast, plan, number, {})
            try:
                loss = _through(stage, plan.where)
            finally:
                stage.inputs.close()
            line = f"{plan.steps:,} steps" if len(few) == len(dataset) else "a batch went through"
            checked.found.append((plan.where, f"{line}; loss {loss:.3f} of {_BATCH} rows"))


def _projections(config: EngineConfig) -> int:
    return config.model.projection.text.settings.cluster_count() or 2


def _in_turn(dataset: Dataset, count: int) -> DatasetLabels:
    """Clusters for rows and texts that nobody clustered."""
    texts = sum(1 for _ in dataset.texts())
    return DatasetLabels(np.arange(len(dataset)) % count, np.arange(texts) % count, count)


def _through(stage: StageRun, where: str) -> float:
    """Forward and backward of the first rows of an epoch; gives the loss.

    Raises:
        DataError: no picture of the rows can be read.
        ConfigError: the loss is not finite.
    """
    order = stage.inputs.order(0)
    rows = order[0][:_BATCH]
    drawn = next(iter(stage.inputs.batches([rows], 0)))
    if drawn.batch is None:
        raise DataError(f"{where}: {drawn.broken} of the first {len(rows)} pictures are broken")
    loss = float(stage.step.run(drawn.batch, _unscaled).loss)
    if not np.isfinite(loss):
        raise ConfigError(f"{where}: the loss of the first batch is {loss}")
    return loss


def _unscaled(loss: torch.Tensor) -> torch.Tensor:
    return loss


class _First(Dataset):
    """The first rows of a data set.

    Args:
        whole: the data set.
        count: rows at most.
    """

    def __init__(self, whole: Dataset, count: int) -> None:
        self._whole, self._count = whole, min(count, len(whole))
        self.name, self.classes = whole.name, whole.classes
        self.has_images, self.activations = whole.has_images, whole.activations

    def __len__(self) -> int:
        return self._count

    def record(self, index: int) -> Record:
        """See the base."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._whole.record(index)

    def image(self, index: int) -> Image:
        """See the base."""
        return self._whole.image(index)

    def activation(self, index: int) -> NDArray[np.float32]:
        """See the base."""
        return self._whole.activation(index)
