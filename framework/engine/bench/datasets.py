"""The data sets of a suite: found and opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.bench.suite import DataEntry, SuiteSettings
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef, Settings
from engine.core.foreign import clean_name
from engine.core.registry import Registry, default_registry
from engine.data.contest import find_zero_shot_folders, read_truth
from engine.data.formats import ZERO_SHOT
from engine.errors import DataError, EngineError, did_you_mean

TRUTH = "gt.json"


@dataclass(frozen=True)
class EvaluatedDataset:
    """A data set to be evaluated on.

    Attributes:
        name: on the leaderboard.
        use: its plugin and settings.
        templates: instead of the model's own; ``None``: the model's.
    """

    name: str
    use: PluginRef
    templates: tuple[str, ...] | None

    def open(self) -> Dataset:
        """Open it.

        Raises:
            DataError: it is missing, has no image, no class, or no right answer.
        """
        dataset: Dataset = self.use.create()
        if not len(dataset):
            raise DataError(f"data set `{self.name}` has no image")
        if not dataset.classes:
            raise DataError(
                f"data set `{self.name}` has no classes, so nothing can be evaluated on it",
                hint="evaluate on a data set with class names; `engine plugins dataset` lists them",
            )
        if all(dataset.record(i).label is None for i in range(len(dataset))):
            raise DataError(
                f"data set `{self.name}`: no image has a right answer",
                hint=f"a folder's right answers stand in its {TRUTH}",
            )
        return dataset

    def to_json(self) -> dict[str, Any]:
        """For a process of its own."""
        return {"name": self.name, "use": self.use.to_config(), "templates": self.templates}

    @staticmethod
    def from_json(value: Mapping[str, Any], registry: Registry | None = None) -> EvaluatedDataset:
        """Back again."""
        templates = value["templates"]
        use = use_of(value["use"], registry)
        return EvaluatedDataset(value["name"], use, None if templates is None else tuple(templates))


def use_of(config: Mapping[str, Any], registry: Registry | None = None) -> PluginRef:
    """``{use: NAME, ...}`` of a data set as validated settings."""
    registry = registry or default_registry()
    entry = DataEntry.model_validate({"dataset": config}, context={"registry": registry})
    assert entry.dataset is not None
    return entry.dataset


def evaluated_of(suite: SuiteSettings) -> tuple[list[EvaluatedDataset], dict[str, str]]:
    """The data sets of a suite, and those left out (by name, with why).

    Raises:
        DataError: one that is not optional is missing, two have one name, or none is left.
    """
    found: list[EvaluatedDataset] = []
    skipped: dict[str, str] = {}
    for entry in suite.data:
        try:
            some = list(_evaluated(entry))
            for each in some:
                each.open()
        except EngineError as error:
            if not entry.optional:
                raise
            skipped[_name(entry)] = error.message
        else:
            found += some
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise DataError(
                f"suite `{suite.name}`: two data sets are called `{name}`",
                hint="give one of them another `name`",
            )
    if not found:
        reasons = "".join(f"\n  {name}: {why}" for name, why in skipped.items())
        raise DataError(f"suite `{suite.name}`: not one of its data sets is here:{reasons}")
    return found, skipped


def _name(entry: DataEntry) -> str:
    if entry.folder is not None:
        return str(entry.folder)
    assert entry.dataset is not None
    return entry.name or entry.dataset.name


def _evaluated(entry: DataEntry) -> Iterator[EvaluatedDataset]:
    if entry.dataset is not None:
        name = entry.name or clean_name(entry.dataset.create().name)
        yield EvaluatedDataset(name, entry.dataset, entry.templates)
        return
    assert entry.folder is not None
    found = find_zero_shot_folders(entry.folder)
    folders = {clean_name(path.resolve().name): path for path in found}
    truth = entry.folder / TRUTH
    if not truth.is_file():
        raise DataError(
            f"{entry.folder} has no {TRUTH}, so there is nothing to evaluate answers by",
            hint='it holds {"<data set>": {"<image id>": <class index>}}',
        )
    known = read_truth(truth)
    for name in entry.only:
        if name not in folders:
            raise DataError(
                f"{entry.folder} holds no data set `{name}`{did_you_mean(name, folders)}",
                hint=f"it holds: {', '.join(folders)}",
            )
    reader = default_registry().reader(ZERO_SHOT)
    for name, path in folders.items():
        if name in known and (not entry.only or name in entry.only):
            use = use_of({"use": reader, "path": str(path), "truth": str(truth)})
            yield EvaluatedDataset(name, use, entry.templates)


def leaves(use: PluginRef) -> list[PluginRef]:
    """The data sets that a data set is made of; itself, where it is made of none."""
    inner = [
        leaf
        for name in type(use.settings).model_fields
        for each in _uses(getattr(use.settings, name))
        if each.kind == "dataset"
        for leaf in leaves(each)
    ]
    return inner or [use]


def _uses(value: object) -> Iterator[PluginRef]:
    if isinstance(value, PluginRef):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _uses(item)
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            yield from _uses(getattr(value, name))
