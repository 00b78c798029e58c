"""The settings of the `train:` section. Nothing here imports torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.contracts.limits import MAX_COUNT, MAX_LAYERS, MAX_WORKERS
from engine.contracts.refs import (
    CallbackRef,
    LoggerRef,
    LossRef,
    OptimizerRef,
    SamplerRef,
    TeacherRef,
)
from engine.contracts.settings import KIND_DEFAULT, Settings
from engine.contracts.values import Bytes, Device

Blocks = (
    Annotated[str, Field(pattern=r"^(all|none|(first|last) [1-9][0-9]{0,3})$")]
    | tuple[Annotated[int, Field(ge=0, lt=MAX_LAYERS)], ...]
)
"""Which blocks of a tower: `all`, `none`, `last 3`, `first 2`, or their numbers from 0."""


def chosen_blocks(blocks: str | tuple[int, ...], count: int) -> frozenset[int]:
    """The numbers of the blocks that a setting names.

    Args:
        blocks: as a config writes it.
        count: blocks that the tower has.

    Raises:
        ValueError: more blocks than there are, or a number beyond the last.
    """
    if isinstance(blocks, tuple):
        beyond = [number for number in blocks if number >= count]
        if beyond:
            raise ValueError(f"there is no block {beyond[0]}: the tower has {count}, from 0")
        return frozenset(blocks)
    if blocks in ("all", "none"):
        return frozenset(range(count) if blocks == "all" else ())
    match = re.fullmatch(r"(first|last) ([0-9]+)", blocks)
    assert match is not None  # the field's pattern
    number = int(match[2])
    if number > count:
        raise ValueError(f"`{blocks}` of a tower that has {count} blocks")
    return frozenset(range(number) if match[1] == "first" else range(count - number, count))


class TowerTrains(Settings):
    """Which segments of a tower train."""

    blocks: Blocks = Field("none", description="`all`, `none`, `last 3`, `first 2` or `[0, 5]`")
    head: bool | None = Field(
        None, description="what stands behind the blocks; by default it trains where a block does"
    )

    @property
    def stem_trains(self) -> bool:
        """Whether what stands before the blocks trains."""
        return False


class VisionTrains(TowerTrains):
    """Which segments of the vision tower train."""

    stem: bool = Field(False, description="what stands before the blocks: patches, positions")

    @property
    def stem_trains(self) -> bool:
        """See the base."""
        return self.stem


class TextTrains(TowerTrains):
    """Which segments of the text encoder train."""

    embeddings: bool = Field(False, description="token and position embeddings, the stem")

    @property
    def stem_trains(self) -> bool:
        """See the base."""
        return self.embeddings


class Trains(Settings):
    """What a stage trains; everything else is frozen."""

    vision: bool | VisionTrains = Field(False, description="true: all of it, false: none of it")
    text: bool | TextTrains = Field(False, description="true: all of it, false: none of it")
    vision_projection: bool = Field(True, description="the projection of images")
    text_projection: bool = Field(True, description="the projection of texts, with its router")
    logit_scale: bool = Field(True, description="the factor on the cosines")
    logit_bias: bool = Field(True, description="where the model has one")
    parameters: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        (),
        description="names of further parameters that train, as in the state dict; `*` and `?`"
        " stand for any characters: `text.*lora_*`",
    )


class ScheduleSettings(Settings):
    """How the learning rate goes over a stage."""

    name: Literal["cosine", "linear", "constant", "multistep"] = Field(
        "cosine", description="the shape of the rate's way after the warm-up"
    )
    warmup: int | float = Field(
        0, ge=0, description="steps of linear rise; below 1 a share of the stage (0.1)"
    )
    final: float = Field(
        0.0, ge=0, le=1, description="cosine, linear: the rate at the end, as a share of `lr`"
    )
    at: tuple[float, ...] = Field((), description="multistep: the epochs at which the rate falls")
    factor: float = Field(0.1, gt=0, lt=1, description="multistep: by what it is multiplied then")

    @model_validator(mode="after")
    def _steps_named(self) -> Self:
        if (self.name == "multistep") != bool(self.at):
            raise ValueError("`at` names the epochs of `multistep`: give both or neither")
        return self


class AugmentSettings(Settings):
    """Random crops of the images, a fixed number of them for each, so that they can be cached."""

    views: int = Field(4, ge=1, le=1000, description="different crops of an image")
    crop: tuple[float, float] = Field((0.6, 1.0), description="least and most share of the area")
    flip: bool = Field(False, description="mirror half of the views")

    @field_validator("crop")
    @classmethod
    def _share(cls, crop: tuple[float, float]) -> tuple[float, float]:
        if not 0 < crop[0] <= crop[1] <= 1:
            raise ValueError("`crop` is two shares of the area, 0 < least <= most <= 1")
        return crop


class StageSettings(Settings):
    """A part of training with its own freezing."""

    name: str = Field(
        min_length=1, max_length=80, description="for tables, curves and messages", examples=["all"]
    )
    trains: Trains = Trains()
    epochs: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="passes over the data (or give `steps`)"
    )
    steps: int | None = Field(None, ge=1, le=MAX_COUNT, description="batches (or give `epochs`)")
    batch_size: int = Field(
        256, ge=2, le=MAX_COUNT, description="rows of a batch, of all processes together"
    )
    chunk_size: int | None = Field(
        None,
        ge=1,
        description="rows that the towers hold at once, the gradient is that of the whole batch"
        " (GradCache); by default all of them",
    )
    optimizer: OptimizerRef = Field(
        KIND_DEFAULT,  # type: ignore[arg-type]
        description="changes the weights; its settings hold the learning rate",
    )
    schedule: ScheduleSettings = ScheduleSettings()
    sampler: SamplerRef = Field(
        KIND_DEFAULT,  # type: ignore[arg-type]
        description="chooses the rows of each batch",
    )
    losses: tuple[LossRef, ...] = Field(
        (KIND_DEFAULT,),  # type: ignore[assignment,arg-type]
        min_length=1,
        description="what training makes small: their sum, each with its weight",
    )
    teacher_forcing: bool = Field(
        False, description="a text goes through the projection of its own cluster, not the router's"
    )
    augment: AugmentSettings | None = None
    clip_gradients: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="largest norm of the gradient"
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs` or `steps`")
        return self


class CacheSettings(Settings):
    """The cache of what the frozen prefixes of the towers gave."""

    use: bool = Field(True, description="false: everything is computed each time")
    dtype: Literal["float32", "float16"] = Field("float32", description="of what is stored")
    budget: Bytes = Field(20 * 10**9, description="most bytes on disk: `20 GB`")  # type: ignore[arg-type]
    folder: Path | None = Field(
        None, description="by default `cache` in the run; name one to share it among runs"
    )


TeacherName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""How losses call a teacher: `teacher.NAME.text`."""


class TrainSettings(Settings):
    """How a model is trained."""

    stages: tuple[StageSettings, ...] = Field(
        min_length=1, description="parts of training, one after the other, each with its freezing"
    )
    teachers: dict[TeacherName, TeacherRef] = Field(
        {}, description="frozen models that losses learn from, by the names that losses use"
    )
    languages: tuple[str, ...] = Field(
        (), description="the text encoder reads only texts in these languages; empty: all"
    )
    queries: Literal["random", "mean"] = Field(
        "random",
        description="an image of several queries: one at random each time, or the mean of their"
        " embeddings",
    )
    max_scale: float = Field(
        100.0,
        gt=0,
        description="most that the factor on cosines may be after a step that trains it",
    )
    cache: CacheSettings = CacheSettings()
    device: Device = Field(
        "auto", description="`cpu`, `cuda`, `cuda:1` or `mps`; auto: a GPU where there is one"
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: float32 on the CPU and on mps, bfloat16 where a GPU has it"
    )
    tf32: bool = Field(
        True,
        description="float32 products on an NVIDIA GPU keep 10 bits of the mantissa (TF32), which"
        " is several times faster; false: all 23",
    )
    channels_last: bool = Field(
        False,
        description="the vision tower's tensors with channels innermost: for convolutional towers"
        " on a GPU",
    )
    compile: bool = Field(False, description="torch.compile the towers' blocks")
    workers: int | None = Field(
        None, ge=1, le=MAX_WORKERS, description="threads or processes that read images: one a core"
    )
    readers: Literal["threads", "processes"] = Field(
        "threads", description="what reads images; processes where a GPU wants thousands a second"
    )
    threads: int | None = Field(
        None, ge=1, le=MAX_WORKERS, description="threads of the model's arithmetic"
    )
    log_every: int = Field(
        10, ge=1, le=MAX_COUNT, description="steps between two lines of the history"
    )
    evaluate_every: int = Field(
        1, ge=0, description="epochs between two evaluations on data.evaluate; 0: at the end alone"
    )
    save_minutes: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="minutes between two checkpoints"
    )
    save_steps: int | None = Field(
        None, ge=1, le=MAX_COUNT, description="also so many steps between two"
    )
    checkpoints: int = Field(
        2, ge=1, le=MAX_COUNT, description="how many of the last are kept, beside the best"
    )
    keep: Literal["last", "best"] = Field(
        "last",
        description="which weights RUN/model gets: of the last step, or of the evaluation with the"
        " best accuracy (a callback can go by another score)",
    )
    callbacks: tuple[CallbackRef, ...] = Field(
        (), description="what accompanies the run: weight averaging, early stopping"
    )
    loggers: tuple[LoggerRef, ...] = Field(
        (KIND_DEFAULT,),  # type: ignore[arg-type]
        description="what shows or stores the numbers of training, beside the history",
    )
