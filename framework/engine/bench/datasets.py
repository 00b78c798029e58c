"""The data sets of a suite: found and opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.bench.suite import DataEntry, SuiteSettings
from engine.contracts.dataset import Dataset
from engine.contracts.settings import Settings, Use
from engine.data.contest import find_zero_shot_folders, read_truth
from engine.errors import DataError, EngineError, did_you_mean
from engine.foreign import clean_name
from engine.registry import Registry, default_registry

TRUTH = "gt.json"


@dataclass(frozen=True)
class Judged:
    """A data set to be judged on.

    Attributes:
        name: on the board.
        use: its plugin and settings.
        templates: instead of the model's own; ``None``: the model's.
    """

    name: str
    use: Use
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
                f"data set `{self.name}` has no classes, so nothing can be judged on it",
                hint="judge on a data set with class names; `engine plugins dataset` lists them",
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
    def from_json(value: Mapping[str, Any], registry: Registry | None = None) -> Judged:
        """Back again."""
        templates = value["templates"]
        use = use_of(value["use"], registry)
        return Judged(value["name"], use, None if templates is None else tuple(templates))


def use_of(config: Mapping[str, Any], registry: Registry | None = None) -> Use:
    """``{use: NAME, ...}`` of a data set as validated settings."""
    registry = registry or default_registry()
    entry = DataEntry.model_validate({"dataset": config}, context={"registry": registry})
    assert entry.dataset is not None
    return entry.dataset


def judged_of(suite: SuiteSettings) -> tuple[list[Judged], dict[str, str]]:
    """The data sets of a suite, and those left out (by name, with why).

    Raises:
        DataError: one that is not optional is missing, two have one name, or none is left.
    """
    found: list[Judged] = []
    skipped: dict[str, str] = {}
    for entry in suite.data:
        try:
            some = list(_judged(entry))
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


def _judged(entry: DataEntry) -> Iterator[Judged]:
    if entry.dataset is not None:
        name = entry.name or clean_name(entry.dataset.create().name)
        yield Judged(name, entry.dataset, entry.templates)
        return
    assert entry.folder is not None
    found = find_zero_shot_folders(entry.folder)
    folders = {clean_name(path.resolve().name): path for path in found}
    truth = entry.folder / TRUTH
    if not truth.is_file():
        raise DataError(
            f"{entry.folder} has no {TRUTH}, so there is nothing to judge answers by",
            hint='it holds {"<data set>": {"<image id>": <class index>}}',
        )
    known = read_truth(truth)
    for name in entry.only:
        if name not in folders:
            raise DataError(
                f"{entry.folder} holds no data set `{name}`{did_you_mean(name, folders)}",
                hint=f"it holds: {', '.join(folders)}",
            )
    for name, path in folders.items():
        if name in known and (not entry.only or name in entry.only):
            use = use_of({"use": "zero_shot_folder", "path": str(path), "truth": str(truth)})
            yield Judged(name, use, entry.templates)


def leaves(use: Use) -> list[Use]:
    """The data sets that a data set is made of; itself, where it is made of none."""
    inner = [
        leaf
        for name in type(use.settings).model_fields
        for each in _uses(getattr(use.settings, name))
        if each.kind == "dataset"
        for leaf in leaves(each)
    ]
    return inner or [use]


def _uses(value: object) -> Iterator[Use]:
    if isinstance(value, Use):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _uses(item)
    elif isinstance(value, Settings):
        for name in type(value).model_fields:
            yield from _uses(getattr(value, name))
