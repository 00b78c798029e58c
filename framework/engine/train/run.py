"""A run's folder: started, gone on with, finished as an artifact.

::

    RUN/config.yaml        the resolved config
    RUN/start/             the model before training, an artifact in float32
    RUN/checkpoints/       where it goes on
    RUN/history.jsonl      what was measured
    RUN/cache/             what frozen prefixes gave
    RUN/model/             the trained model, the artifact that everything else reads
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.build import Built, build, read_artifact, save
from engine.clusters.assign import label_dataset
from engine.config import dump_config
from engine.config.schema import EngineConfig, StorageSettings
from engine.contracts.settings import TextEncoderSettings
from engine.contracts.training import Logger
from engine.errors import ConfigError, TrainingError
from engine.size import SizeReport
from engine.train.data import TrainingRows
from engine.train.device import choose_device
from engine.train.distribution import Processes
from engine.train.history import FILE
from engine.train.judge import Judge, judge_of
from engine.train.loop import Trainer

CONFIG, START, MODEL = "config.yaml", "start", "model"
_OURS = frozenset({CONFIG, START, MODEL, FILE, "checkpoints", "cache"})

Say = Callable[[str], None]


def check_folder(folder: Path, *, resume: bool, force: bool) -> None:
    """Whether a run may be written there.

    Raises:
        TrainingError: there is a run already (``resume`` goes on with it, ``force`` replaces it),
            or something else; or there is none to go on with.
    """
    if resume:
        if not (folder / CONFIG).is_file():
            raise TrainingError(
                f"{folder} is no run to go on with: it has no {CONFIG}",
                hint="without `--resume` one is started there",
            )
        return
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / CONFIG).is_file() or not (folder / FILE).is_file():
        raise TrainingError(
            f"{folder} exists and is no run, so nothing is written there",
            hint="choose another folder with `-o`",
        )
    if not force:
        raise TrainingError(
            f"{folder} holds a run already",
            hint="`--resume` goes on with it, `--force` replaces it",
        )


def train(
    config: EngineConfig,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    judge: Callable[[Built], Judge | None] = judge_of,
    say: Say = lambda line: None,
) -> tuple[Built, SizeReport | None]:
    """Train a config's model.

    Args:
        config: with ``train`` and ``data.train``.
        folder: of the run.
        resume: go on from the last checkpoint that is whole.
        force: replace a run that is there.
        judge: makes the judge of the model, by default on ``data.evaluate``.
        say: told what is being done before training starts.

    Returns:
        The trained model, and the size of the artifact (``None`` in processes that write none).

    Raises:
        ConfigError: the config cannot be trained.
        TrainingError: the folder is in use, or see :meth:`Trainer.run`.
    """
    if config.train is None:
        raise ConfigError(
            f"{config.name}: the config has no `train:` section",
            hint="name its stages: `train: {stages: [{name: one, epochs: 5}]}`",
        )
    if config.data.train is None:
        raise ConfigError(
            f"{config.name}: `data.train` names no data set to train on",
            hint="for example `--set data.train='{use: click_log, path: MY_DATA}'`",
        )
    processes = Processes()
    processes.start(choose_device(config.train.device, processes.local_rank))
    loggers: tuple[Logger, ...] = ()
    if processes.main:
        check_folder(folder, resume=resume, force=force)
        loggers = tuple(use.create() for use in config.train.loggers)
    built = _start(config, folder, processes, resume=resume, say=say)
    say("training data")
    settings = config.model.text.settings
    assert isinstance(settings, TextEncoderSettings)
    dataset = config.data.train.create()
    labels = None if built.clusters is None else label_dataset(built.clusters, dataset, say)
    data = TrainingRows(dataset, built.tokenizer, settings.max_tokens, labels)
    trainer = Trainer(built, data, folder, judge=judge(built), loggers=loggers, processes=processes)
    trainer.run(resume=resume)
    built.model.to("cpu").eval()
    built.manifest["stages"] = trainer.ended
    built.manifest["scores"] = trainer.ended[-1]["scores"] if trainer.ended else {}
    if not processes.main:
        return built, None
    return built, save(built, folder / MODEL)


def _start(
    config: EngineConfig, folder: Path, processes: Processes, *, resume: bool, say: Say
) -> Built:
    """The model before training: built once, read by every process and at every resume."""
    start = folder / START
    if processes.main and not (resume and (start / "engine.json").is_file()):
        built = build(config, say)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _OURS:
            _remove(folder / name)
        # In float32, whatever the artifact's dtype: a run that goes on needs every bit.
        plain = config.model_copy(update={"storage": StorageSettings(dtype="float32")})
        save(replace(built, config=plain), start)
        (folder / CONFIG).write_text(dump_config(config), encoding="utf-8")
        if processes.count == 1:
            return built
    processes.wait()
    read = read_artifact(start, clusters=True)
    read.manifest.pop("files", None)
    return replace(read, config=config)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
