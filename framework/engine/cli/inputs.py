"""What commands read, so that none writes over it: checked before the work, by every command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.bench.suite import SuiteSettings
    from engine.core.config import EngineConfig


def check_files(outputs: Iterable[Path | None], reads: Iterable[Path | None]) -> None:
    """:func:`engine.core.files.check_outputs`, imported when it is called."""
    from engine.core.files import check_outputs

    check_outputs(outputs, reads)


def check_folder(folder: Path | None, reads: Iterable[Path | None]) -> None:
    """Refuse a folder to be written that holds a file which the same command reads.

    Args:
        folder: its files are replaced; ``None`` is passed over.
        reads: files and folders; ``None`` is passed over.

    Raises:
        DataError: names the file.
    """
    from engine.core.files import target_of
    from engine.errors import DataError

    if folder is None:
        return
    target = target_of(folder)
    for path in reads:
        if path is not None and path.exists() and target_of(path).is_relative_to(target):
            raise DataError(
                f"{path} is read by this command and lies in {folder}, which it would replace",
                hint="choose another folder for the output",
            )


def files_of_artifact(folder: Path) -> list[Path]:
    """The files that an artifact consists of, whether they are there or not."""
    from engine.core import artifact
    from engine.core.model_path import model_folder
    from engine.exchange.exported import is_export

    if is_export(folder):
        return [path for path in folder.iterdir() if path.is_file()]
    folder = model_folder(folder)
    names = (artifact.MANIFEST, artifact.CONFIG, artifact.WEIGHTS, artifact.TOKENIZER,
             artifact.CLUSTERS, artifact.CLUSTERS_JSON, artifact.CLUSTERS_PAGE)  # fmt: skip
    return [folder / name for name in names]


def files_of_tasks(data: Path, truth: Path | None) -> list[Path]:
    """What is read of a folder of zero-shot tasks: class names, images, right answers."""
    from engine.data.contest import CLASSES, IMAGES, find_zero_shot_folders

    folders = find_zero_shot_folders(data)
    inside = [folder / name for folder in folders for name in (CLASSES, IMAGES)]
    return [*inside, data / "gt.json", *([] if truth is None else [truth])]


def files_of_table(out: Path) -> list[Path]:
    """What is read of a folder of images with queries: its table, its images."""
    from engine.data.text.table import find_table

    table = find_table(out)
    return [table, *(table.parent / name for name in ("images", "shards"))]


def files_of_run(run: Path) -> list[Path]:
    """Everything in a run's folder but the pages that are drawn of it."""
    return [path for path in run.iterdir() if path.suffix != ".html"] if run.is_dir() else []


def sources_of(config: EngineConfig) -> list[Path]:
    """What a config's ``from: file:...``, ``artifact:...`` and ``package:...`` name."""
    return _sources(config.model_dump(by_alias=True))


def _sources(value: Any) -> list[Path]:
    if isinstance(value, str):
        return _local(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, Sequence):
        return [path for each in value for path in _sources(each)]
    return []


def _local(source: str) -> list[Path]:
    from engine.core.sources import local_path
    from engine.errors import WeightsError

    try:
        path = local_path(source)
    except WeightsError:  # a package that is not installed: nothing of it can be overwritten
        return []
    return [] if path is None else [path]


def files_of_suite(path: Path, suite: SuiteSettings) -> list[Path]:
    """What a suite reads by name: itself, its entries, the right answers of its data."""
    entries = [
        file
        for entry in suite.entries
        for file in ([entry.path] if entry.artifact is None else files_of_artifact(entry.path))
    ]
    truths = [entry.folder / "gt.json" for entry in suite.data if entry.folder is not None]
    return [path, *entries, *truths]
