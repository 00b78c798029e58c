"""A config, resolved once into what each part of a run needs of it.

:func:`resolve` is called before anything is built; from then on no module of training reads the
config, and each takes the one small record below that was made for it. So a new setting has one
place where it enters, and a signature says what a module depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.contracts.settings import PluginRef
from engine.contracts.teacher import Teacher, TeacherSettings
from engine.core.config.schema import EngineConfig
from engine.core.config.train_schema import StageSettings
from engine.errors import ConfigError
from engine.train.names import CACHE
from engine.train.resume import resume_signature

TeacherRefs = Mapping[str, PluginRef[TeacherSettings, Teacher]]

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class DataParts:
    """What the training data are made of, for :class:`engine.train.data.TrainingRows`.

    Attributes:
        dataset: the data set's plugin.
        max_tokens: of a text, for the text encoder.
        languages: of the text encoder's texts; empty: any.
        taught_in: languages in which each row needs a text, because a teacher reads it.
    """

    dataset: PluginRef
    max_tokens: int
    languages: tuple[str, ...]
    taught_in: tuple[str, ...]


@dataclass(frozen=True)
class ComputeParts:
    """Where and how the model computes, for ``engine.train.device``.

    Attributes:
        device: see :data:`engine.contracts.values.Device`.
        precision: of the matrix products.
        threads: of arithmetic; ``None``: as PyTorch has it.
        compile: the towers' blocks are compiled.
        tf32: float32 products on an NVIDIA GPU are rounded to TF32.
        channels_last: the vision tower's tensors have their channels innermost.
    """

    device: str
    precision: Precision
    threads: int | None
    compile: bool
    tf32: bool
    channels_last: bool


@dataclass(frozen=True)
class PlanParts:
    """What the stages' lengths follow from, for ``engine.train.plan``.

    Attributes:
        stages: in order.
        seed: of the order of rows.
        mean: the losses read the mean over a row's texts.
        compile: the towers' blocks are compiled.
        from_teachers: the entries that teachers may give to losses.
    """

    stages: tuple[StageSettings, ...]
    seed: int
    mean: bool
    compile: bool
    from_teachers: frozenset[str]


@dataclass(frozen=True)
class CacheParts:
    """The activation cache of a run.

    Attributes:
        folder: where it is.
        use: whether frozen prefixes and pictures are kept at all.
        budget: bytes on disk at most; 0 where it is not used.
        dtype: of what is stored.
    """

    folder: Path
    use: bool
    budget: int
    dtype: Literal["float32", "float16"]


@dataclass(frozen=True)
class InputParts:
    """What a stage reads its batches with, for ``engine.train.inputs``.

    Attributes:
        towers: ``vision`` and ``text``, as the config names them: keys of the activation cache.
        seed: of crops, of the text that is drawn for a row, and of the views.
        workers: threads or processes that read pictures; ``None``: chosen from the machine.
        readers: which of the two.
        one_text: one text is drawn for each row; otherwise all of a row's texts are read.
        cache: for frozen prefixes and pictures.
    """

    towers: Mapping[str, PluginRef]
    seed: int
    workers: int | None
    readers: Literal["threads", "processes"]
    one_text: bool
    cache: CacheParts


@dataclass(frozen=True)
class PaceParts:
    """When a run logs, evaluates and saves, for ``engine.train.loop``.

    Attributes:
        log_every: steps between two lines of the history.
        evaluate_every: epochs between two evaluations; 0: at the end of a stage alone.
        save_steps: steps between two checkpoints, beside ``save_minutes``.
        save_minutes: minutes between two checkpoints.
        checkpoints: how many of the last are kept, beside the best.
        keep_best: the model gets the weights of the best evaluation, not of the last step.
    """

    log_every: int
    evaluate_every: int
    save_steps: int | None
    save_minutes: float
    checkpoints: int
    keep_best: bool

    def due(self, step: int, seconds: float) -> bool:
        """Whether a checkpoint is due, so many seconds after the last one."""
        by_step = self.save_steps is not None and step % self.save_steps == 0
        return by_step or seconds >= 60 * self.save_minutes


@dataclass(frozen=True)
class RunParts:
    """Everything that training takes from its config.

    Attributes:
        name: of the config.
        seed: of every random choice.
        max_scale: the largest factor on the cosines.
        described: the whole config as plain values, for loggers.
        signature: what may not change where a run goes on (see ``engine.train.resume``).
        loggers: beside the history.
        callbacks: in the order in which they are called.
        teachers: by name.
    """

    name: str
    seed: int
    max_scale: float
    described: Mapping[str, Any]
    signature: Mapping[str, Any]
    loggers: tuple[PluginRef, ...]
    callbacks: tuple[PluginRef, ...]
    teachers: TeacherRefs
    data: DataParts
    compute: ComputeParts
    plan: PlanParts
    inputs: InputParts
    pace: PaceParts


def resolve(config: EngineConfig, folder: Path) -> RunParts:
    """What a run needs of its config.

    Args:
        config: with ``train`` and ``data.train``.
        folder: of the run.

    Raises:
        ConfigError: one of the two is missing.
    """
    train, dataset = config.train, config.data.train
    if train is None:
        raise ConfigError(
            f"{config.name}: the config has no `train:` section",
            hint="name its stages: `train: {stages: [{name: one, epochs: 5}]}`",
        )
    if dataset is None:
        raise ConfigError(
            f"{config.name}: `data.train` names no data set to train on",
            hint="for example `--set data.train='{use: NAME, path: MY_DATA}'`",
        )
    text, vision = config.model.text, config.model.vision
    languages = (ref.settings.language for ref in train.teachers.values())
    return RunParts(
        name=config.name,
        seed=config.seed,
        max_scale=train.max_scale,
        described=config.model_dump(mode="json", by_alias=True),
        signature=resume_signature(config),
        loggers=train.loggers,
        callbacks=train.callbacks,
        teachers=train.teachers,
        data=DataParts(
            dataset=dataset,
            max_tokens=text.settings.max_tokens,
            languages=train.languages,
            taught_in=tuple(language for language in languages if language),
        ),
        compute=ComputeParts(
            train.device,
            train.precision,
            train.threads,
            train.compile,
            train.tf32,
            train.channels_last,
        ),
        plan=PlanParts(
            stages=train.stages,
            seed=config.seed,
            mean=train.queries == "mean",
            compile=train.compile,
            from_teachers=frozenset(
                f"teacher.{name}.{modality}"
                for name in train.teachers
                for modality in ("text", "image")
            ),
        ),
        inputs=InputParts(
            towers={"vision": vision, "text": text},
            seed=config.seed,
            workers=train.workers,
            readers=train.readers,
            one_text=train.queries == "random",
            cache=CacheParts(
                folder=train.cache.folder or folder / CACHE,
                use=train.cache.use,
                budget=train.cache.budget if train.cache.use else 0,
                dtype=train.cache.dtype,
            ),
        ),
        pace=PaceParts(
            log_every=train.log_every,
            evaluate_every=train.evaluate_every,
            save_steps=train.save_steps,
            save_minutes=train.save_minutes,
            checkpoints=train.checkpoints,
            keep_best=train.keep == "best",
        ),
    )
