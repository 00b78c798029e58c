"""A run's folder: started, gone on with, finished as an artifact.

::

    RUN/config.yaml        the resolved config (see ``folder`` for how a run takes its folder)
    RUN/start/             the model before training, an artifact in float32
    RUN/checkpoints/       where it goes on
    RUN/history.jsonl      what was measured
    RUN/cache/             what frozen prefixes gave
    RUN/model/             the trained model, the artifact that everything else reads
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from engine.clusters.assign import label_dataset
from engine.clusters.building import build_clustered, clusters_of, read_clustered
from engine.contracts.callback import Callback
from engine.contracts.training import Logger
from engine.core.artifact import MANIFEST
from engine.core.build import Built, save
from engine.core.config import dump_config
from engine.core.config.schema import EngineConfig, LimitSettings, WeightStorageSettings
from engine.core.files import explained, write_text
from engine.core.progress import Progress, silent
from engine.core.size import SizeReport
from engine.errors import ArtifactError, TrainingError
from engine.prepare.chunks import Reading
from engine.prepare.folder import Opened, PreparedFolder
from engine.train.checkpoint_model import model_at
from engine.train.data import TrainingRows
from engine.train.device import choose_device
from engine.train.distribution import OtherEnded, Processes
from engine.train.evaluator import Evaluator, evaluator_of
from engine.train.folder import RunFolder, holding, is_run
from engine.train.loop import Trainer
from engine.train.names import CONFIG, MODEL, START, STARTING
from engine.train.parts import DataParts, RunParts, resolve
from engine.train.plan import Until


def train(
    config: EngineConfig,
    folder: Path,
    *,
    resume: bool | Literal["auto"] = False,
    force: bool = False,
    until: Until | None = None,
    evaluator: Callable[[Built], Evaluator | None] = evaluator_of,
    progress: Progress = silent,
) -> tuple[Built, SizeReport | None]:
    """Train a config's model.

    Args:
        config: with ``train`` and ``data.train``.
        folder: of the run.
        resume: go on from the last checkpoint that is whole; ``auto``: where a run is there,
            else begin one, so that one command starts and restarts (torchrun's elastic restart).
        force: replace a run that is there.
        until: see :meth:`Trainer.run`; ``resume`` goes on, and no artifact is written before the
            end.
        evaluator: makes the evaluator of the model, by default on ``data.evaluate``.
        progress: receives what is being done before training starts.

    Returns:
        The trained model, and the size of the artifact (``None`` in processes that write none, and
        where the run paused).

    Raises:
        ConfigError: the config cannot be trained.
        TrainingError: the folder is in use, or see :meth:`Trainer.run`.
    """
    parts = resolve(config, folder)
    processes = Processes()
    processes.start(choose_device(parts.compute.device, processes.local_rank))
    if resume == "auto":  # all do what the first process finds
        resume = bool(processes.all_gather(processes.main and is_run(folder)).any())
    with contextlib.ExitStack() as stack:
        run: RunFolder | None = None
        if processes.main:
            stack.enter_context(explained(folder, _ROOM))
            run = stack.enter_context(holding(folder, resume=resume, force=force))
            stack.enter_context(_reported_how_to_go_on(run))
        stack.enter_context(_others_explained(processes))
        return _train(
            config, parts, folder, processes, run, resume=resume, until=until,
            evaluator=evaluator, progress=progress,
        )  # fmt: skip


_ROOM = "make room on the disk, then the same command again (`--resume`, where training began)"


def _train(
    config: EngineConfig,
    parts: RunParts,
    folder: Path,
    processes: Processes,
    run: RunFolder | None,
    *,
    resume: bool,
    until: Until | None,
    evaluator: Callable[[Built], Evaluator | None],
    progress: Progress,
) -> tuple[Built, SizeReport | None]:
    """:func:`train` in a folder that is held; ``run`` is ``None`` in processes that write none."""
    loggers: tuple[Logger, ...] = ()
    callbacks: tuple[tuple[str, Callback], ...] = ()
    if run is not None:
        loggers = tuple(run.waiting(use.create()) for use in parts.loggers)
        callbacks = tuple((use.name, use.create()) for use in parts.callbacks)
    progress("training data")
    opened = PreparedFolder.of(config, progress).open()
    built = _start(config, folder, processes, run, opened, resume=resume, progress=progress)
    data = training_rows(parts.data, built, opened, progress)
    trainer = Trainer(
        built,
        data,
        folder,
        parts=parts,
        evaluator=evaluator(built),
        loggers=loggers,
        callbacks=callbacks,
        processes=processes,
        place=run,
    )
    trainer.run(resume=resume, until=until)
    built.model.to("cpu").eval()
    if parts.compute.channels_last:
        built.model.vision.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    stages = trainer.state.finished_stages
    built.manifest["scores"] = stages[-1]["scores"] if stages else {}
    built.manifest["trained_weights"] = trainer.kept_weights()
    if run is not None and not trainer.paused:
        built = _best(folder, trainer) or built
    built.manifest["stages"] = stages
    built.manifest["training"] = {"step": trainer.state.at.step, "steps": trainer.state.steps}
    if run is None or trainer.paused:
        return built, None
    return built, save(built, folder / MODEL)


def _best(folder: Path, trainer: Trainer) -> Built | None:
    """The model with the weights of the best evaluation, where those are to be kept.

    ``None`` where they are those of the last step anyway.

    Raises:
        TrainingError: its checkpoint is damaged or gone.
    """
    asked = trainer.parts.pace.keep_best or trainer.callbacks.best_step() is not None
    best = trainer.state.best_step
    if not asked or best is None or best == trainer.state.at.step:
        return None
    try:
        return model_at(folder, best)
    except (TrainingError, ArtifactError) as error:
        raise TrainingError(
            f"the best weights, of step {best}, cannot be read: {error.message}",
            hint="`--resume --set train.keep=last` writes the model of the last step",
        ) from error


def start_of(config: EngineConfig, progress: Progress = silent) -> tuple[Built, TrainingRows]:
    """The model before training and its data; nothing is written.

    Raises:
        ConfigError: the config has no training data.
        DataError: no row has a text.
    """
    parts = resolve(config, Path())
    opened = PreparedFolder.of(config, progress).open()
    built = opened.start(config) or build_clustered(config, progress)
    return built, training_rows(parts.data, built, opened, progress)


def training_rows(
    parts: DataParts, built: Built, opened: Opened, progress: Progress = silent
) -> TrainingRows:
    """The training data: from what was prepared, else read and tokenised now.

    Raises:
        DataError: no row has a text.
    """
    dataset, clusters = opened.dataset, clusters_of(built)
    labels = None
    if clusters is not None:
        labels = opened.labels(clusters) or label_dataset(clusters, dataset, progress)
    reading = Reading(built.tokenizer, parts.max_tokens, parts.languages, parts.taught_in)
    return TrainingRows(
        dataset, built.tokenizer, reading.max_tokens, labels, languages=reading.languages,
        taught_in=reading.taught_in, tables=opened.tables(reading),
    )  # fmt: skip


def _start(
    config: EngineConfig,
    folder: Path,
    processes: Processes,
    run: RunFolder | None,
    opened: Opened,
    *,
    resume: bool,
    progress: Progress,
) -> Built:
    """The model before training: built once, read by every process and at every resume."""
    built, staged = None, False
    if run is not None and not (resume and (folder / START / MANIFEST).is_file()):
        built = opened.start(config) or build_clustered(config, progress)
        staged = not resume
        place = run.stage() if staged else folder
        # Every bit is kept, however the artifact will be stored: a run that goes on needs them.
        # So this start may be larger than the artifact, whose limits it need not keep.
        plain = config.model_copy(
            update={"storage": WeightStorageSettings(), "limits": LimitSettings()}
        )
        save(replace(built, config=plain), place / START, merge=False)
        write_text(place / CONFIG, dump_config(config))
    if processes.count == 1 and built is not None:
        return built
    staged = bool(processes.all_gather(int(staged)).max())  # waits for the first process, too
    read = read_clustered(folder / STARTING / START if staged else folder / START)
    processes.barrier()
    read.manifest.pop("files", None)
    return replace(read, config=config)


@contextlib.contextmanager
def _others_explained(processes: Processes) -> Iterator[None]:
    """An error of a connection becomes one line: the process at its other end has the reason."""
    try:
        yield
    except RuntimeError as error:
        lost = any(word in str(error) for word in ("gloo", "Gloo", "NCCL", "Connection closed"))
        if processes.count == 1 or not lost:
            raise
        raise OtherEnded(
            "another process of this training ended, so this one ends too",
            hint="its own message has the reason; `--resume` goes on from the last checkpoint"
            " (`--resume auto` under torchrun with --max-restarts)",
        ) from error


@contextlib.contextmanager
def _reported_how_to_go_on(run: RunFolder) -> Iterator[None]:
    """Progress beside Ctrl-C and signals which command goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if run.replaces and (run.staged or run.fresh):
            stop.add_note("the old run is untouched; the same command starts the new one again")
        elif not is_run(run.folder):
            stop.add_note("training had not begun: the same command starts it")
        else:
            stop.add_note("the same command with `--resume` (and without `--force`) goes on")
        raise
