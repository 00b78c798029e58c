"""The suite: which models are evaluated on which data, under which limits, without importing torch.

::

    engine: 1
    name: small
    seeds: [0]
    limits: [1 MB, 3 MB]
    fit: [500 kB]                                # every entry, made to fit, as a row of its own
    entries:
      - {name: sber, config: configs/tiny/sber.yaml, set: {train.stages.0.epochs: 10}}
      - {name: bought, artifact: build/bought}
      - {name: theirs, predictions: theirs.json}
    data:
      - {dataset: {use: my_digits, split: test}, templates: ["цифра {}"]}
      - {folder: photographs, optional: true}      # every data set in it, with its gt.json

Paths are relative to the folder one works in, as those of a config are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.bench.formatting import limit_words
from engine.contracts.limits import MAX_SEED, MAX_WORKERS
from engine.contracts.refs import DatasetRef
from engine.contracts.settings import Settings
from engine.contracts.values import Bytes, Device
from engine.core.config.loader import load_settings
from engine.core.config.schema import ZeroShotSettings

if TYPE_CHECKING:
    from engine.core.registry import Registry

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_ONE_OF = "exactly one of `config`, `artifact` and `predictions`"

Templates = Annotated[tuple[str, ...], Field(min_length=1)]


class EntrySettings(Settings):
    """One entry: a config that is built and trained, a finished artifact, or a file of answers."""

    name: str = Field(pattern=NAME, max_length=60, description="name on the leaderboard")
    config: Path | None = Field(None, description="a config: built, trained, then evaluated")
    artifact: Path | None = Field(
        None, description="a folder that `engine build`, `train` or `export --to onnx` wrote"
    )
    predictions: Path | None = Field(
        None, description="the contest's `{data set: {image id: class index}}`; no model is seen"
    )
    set: dict[str, Any] = Field(
        {}, description="laid over the config, such as `train.stages.0.epochs: 5`"
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] | None = Field(
        None, min_length=1, description="instead of the suite's"
    )
    fit: Bytes | None = Field(
        None, description="made as good as possible under so many bytes, as `engine fit` does"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [x for x in (self.config, self.artifact, self.predictions) if x is not None]
        if len(given) != 1:
            raise ValueError(f"entry `{self.name}` needs {_ONE_OF}")
        if self.config is None and (self.set or self.seeds):
            raise ValueError(f"entry `{self.name}`: `set` and `seeds` belong to a `config`")
        if self.predictions is not None and self.fit is not None:
            raise ValueError(f"entry `{self.name}`: predictions alone have no model to `fit`")
        return self

    @property
    def source(self) -> Literal["config", "artifact", "predictions"]:
        """What the entry is made of."""
        if self.config is not None:
            return "config"
        return "artifact" if self.artifact is not None else "predictions"

    @property
    def path(self) -> Path:
        """The config, the artifact or the predictions."""
        found = self.config or self.artifact or self.predictions
        assert found is not None
        return found


class DataEntry(Settings):
    """Data to be evaluated on: one data set, or a folder of the contest's layout."""

    name: str | None = Field(
        None,
        pattern=NAME,
        max_length=60,
        description="on the leaderboard; by default the data set's own",
    )
    dataset: DatasetRef | None = Field(None, description="a data set by its plugin")
    folder: Path | None = Field(
        None,
        description="a folder of data sets in the contest's layout, the right answers in gt.json",
    )
    only: tuple[str, ...] = Field((), description="of the folder, only these data sets")
    templates: Templates | None = Field(
        None, description="put around the class names instead of the model's own"
    )
    optional: bool = Field(
        False, description="true: where it is not on this machine it is left out, and that is said"
    )

    @field_validator("templates")
    @classmethod
    def _one_place(cls, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if templates is not None:
            ZeroShotSettings(templates=templates)
        return templates

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.folder is None):
            raise ValueError("a data set needs exactly one of `dataset` and `folder`")
        if self.folder is not None and self.name is not None:
            raise ValueError("a `folder` names its data sets itself: leave `name` out")
        if self.dataset is not None and self.only:
            raise ValueError("`only` chooses among the data sets of a `folder`")
        return self


class MeasureSettings(Settings):
    """What is measured beside the answers."""

    speed: bool = Field(True, description="time to load, latency, throughput, peak memory")
    contest: bool = Field(
        False, description="a run under the contest's conditions: one thread, no network, cold"
    )
    draws: int = Field(10_000, ge=100, le=1_000_000, description="of the bootstrap")


class SuiteSettings(Settings):
    """A whole suite."""

    engine: Literal[1] = Field(description="version of the schema")
    name: str = Field(pattern=NAME, max_length=60, description="of the suite and of its folder")
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        (0,), min_length=1, description="every config is trained once with each"
    )
    threads: int = Field(1, ge=1, le=MAX_WORKERS, description="threads of each process")
    device: Device | None = Field(
        None,
        description="where every process trains, answers and is timed; by default configs say where"
        " they train, and the CPU answers",
    )
    backend: Literal["torch", "onnxruntime"] | None = Field(
        None,
        description="what computes the answers and is timed; by default PyTorch, and onnxruntime"
        " for entries that are ONNX exports",
    )
    jobs: int = Field(
        1, ge=1, le=MAX_WORKERS, description="processes that train and evaluate at once"
    )
    limits: tuple[Bytes, ...] = Field(
        (50 * 10**6, 150 * 10**6, 500 * 10**6, 10**9),
        description="a leaderboard for each, most bytes of the weight file",
    )
    fit: tuple[Bytes, ...] = Field(
        (),
        description="every entry also made to fit under each of these limits, as rows of its own",
    )
    set: dict[str, Any] = Field({}, description="laid over every config, before the entry's own")
    entries: tuple[EntrySettings, ...] = Field(min_length=1)
    data: tuple[DataEntry, ...] = Field(min_length=1)
    measure: MeasureSettings = MeasureSettings()

    @field_validator("entries")
    @classmethod
    def _different_names(cls, entries: tuple[EntrySettings, ...]) -> tuple[EntrySettings, ...]:
        twice = [n for n, count in Counter(entry.name for entry in entries).items() if count > 1]
        if twice:
            raise ValueError(f"two entries are called `{twice[0]}`: each needs a name of its own")
        return entries

    @model_validator(mode="after")
    def _different_fitted_names(self) -> Self:
        names = [entry.name for entry in self.all_entries]
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(
                    f"an entry is called `{name}`, as one that `fit` makes: give it another name"
                )
        return self

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    def seeds_of(self, entry: EntrySettings) -> tuple[int, ...]:
        """The seeds of an entry; what is not trained here has one."""
        if entry.source != "config":
            return (0,)
        return entry.seeds or self.seeds

    def overrides_of(self, entry: EntrySettings, seed: int) -> list[str]:
        """``KEY=VALUE`` for an entry's config, the later ones stronger.

        An entry's own key takes the suite's keys below it away: of two overrides the longer one
        would hold otherwise.
        """
        own = {**entry.set, "seed": seed}
        below = tuple(f"{key}." for key in own)
        kept = [(key, value) for key, value in self.set.items() if not key.startswith(below)]
        laid = [*kept, *own.items()]
        return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in laid]

    @property
    def size_buckets(self) -> tuple[int, ...]:
        """The limits, and those that models were made to fit, each once, the strictest first."""
        fitted = [entry.fit for entry in self.all_entries if entry.fit is not None]
        return tuple(sorted({*self.limits, *fitted}))

    @property
    def all_entries(self) -> tuple[EntrySettings, ...]:
        """The entries, and behind them each one under each limit of ``fit``."""
        return (
            *self.entries,
            *(
                entry.model_copy(update={"name": fitted_name(entry.name, limit), "fit": limit})
                for entry in self.entries
                if entry.source != "predictions" and entry.fit is None
                for limit in sorted(set(self.fit))
            ),
        )

    def trained_as(self, entry: EntrySettings) -> str:
        """The name of the entry whose trained model this one is made of: most often its own."""
        return next(
            (
                own.name
                for own in self.entries
                if entry.fit is not None and entry.name == fitted_name(own.name, entry.fit)
            ),
            entry.name,
        )


def fitted_name(name: str, limit: int) -> str:
    """``sber``, 10,000,000 -> ``sber-10MB``."""
    return f"{name}-{limit_words(limit).replace(' ', '')}"


def load_suite(
    path: Path, overrides: Sequence[str] = (), *, registry: Registry | None = None
) -> SuiteSettings:
    """Read a suite.

    Args:
        path: a YAML file.
        overrides: ``KEY=VALUE`` each, as for a config.
        registry: the plugins; by default everything installed.

    Raises:
        ConfigError: all of its mistakes, each with its place.
    """
    return load_settings(SuiteSettings, path, overrides, registry=registry)
