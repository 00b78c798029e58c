"""The folder of prepared data: what training needs of its data, computed before it starts.

::

    FOLDER/index-KEY/    with which the data set opens at once
    FOLDER/start-KEY/    the model before training, with its tokenizer and clusters: an artifact
    FOLDER/tables-KEY/   token ids, digests, weights: every text tokenised
    FOLDER/labels-KEY/   the cluster of each row and each text
    FOLDER/KEY.parts/    parts of the above while they are computed

A key names everything that the numbers follow from (``keys.py``), so nothing stale is found.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.clusters.assign import DatasetLabels
from engine.clusters.building import build_clustered, read_clustered
from engine.clusters.store import Clusters
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef
from engine.core.artifact import is_artifact
from engine.core.build import Built, save
from engine.core.config.schema import EngineConfig, LimitSettings, WeightStorageSettings
from engine.core.files import locked
from engine.core.named_files import files_digest
from engine.core.progress import Progress, silent
from engine.errors import ArtifactError, at_setting
from engine.prepare.chunks import Reading
from engine.prepare.keys import data_key, labels_key, start_key, tables_key
from engine.prepare.store import DamagedPartError, read
from engine.prepare.tables import RowTables, tables_of

_log = logging.getLogger(__name__)

DEFAULT = Path("build/prepared")
"""Where prepared data lie unless a config says otherwise (``data.prepared``)."""

_DAY = 24 * 3600.0


@dataclass(frozen=True)
class PreparedFolder:
    """Finds what was prepared for a data set. What is damaged is named and computed as without.

    Attributes:
        folder: see the module; need not exist.
        use: the data set of the config.
        progress: receives how far the model before training is.
    """

    folder: Path
    use: PluginRef[Any, Dataset]
    progress: Progress = silent

    @classmethod
    def of(cls, config: EngineConfig, progress: Progress = silent) -> PreparedFolder:
        """The folder of a config with ``data.train``."""
        assert config.data.train is not None
        return cls(config.data.prepared or DEFAULT, config.data.train, progress)

    def key(self, dataset: Dataset | None = None) -> str | None:
        """Names the data, see :func:`engine.prepare.keys.data_key`."""
        return data_key(self.use, dataset)

    def open(self) -> Opened:
        """The data set, opened with its index where that was prepared."""
        with at_setting("data.train"):
            return self._open()

    def _open(self) -> Opened:
        if not self.folder.is_dir():
            return Opened(self, self.use.create(), None)
        key = self.key()
        index = None if key is None else self._read(f"index-{key}")
        if index is None:
            dataset = self.use.create()
            return Opened(self, dataset, key or self.key(dataset))
        return Opened(self, self.use.target().from_index(self.use.settings, index), key)

    def start(self, config: EngineConfig, key: str | None) -> Built | None:
        """The model before training, where it was prepared."""
        folder = None if key is None else self.folder / self.start_name(config, key)
        if folder is None or not is_artifact(folder):
            return None
        try:
            built = read_clustered(folder)
        except ArtifactError as error:
            _log.warning("prepared data: %s; it is built", error.message)
            return None
        built.manifest.pop("files", None)
        return replace(built, config=config)

    def make_start(self, config: EngineConfig, key: str) -> Built:
        """The model before training, read where it is there, else built and written."""
        folder = self.folder / self.start_name(config, key)
        self.folder.mkdir(parents=True, exist_ok=True)
        message = f"{folder} is being made by another process"
        with locked(self.folder / f".{folder.name}.making", message, wait=_DAY):
            found = self.start(config, key)
            if found is None:
                built = build_clustered(config, self.progress)
                plain = config.model_copy(
                    update={"storage": WeightStorageSettings(), "limits": LimitSettings()}
                )
                save(replace(built, config=plain), folder, merge=False)
                found = self.start(config, key)
        assert found is not None
        return found

    def start_name(self, config: EngineConfig, key: str) -> str:
        """The name of the model before training."""
        files = files_digest([config.model, config.clusters])
        return f"start-{start_key(key, config, files)}"

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = read(self.folder / name)
        except FileNotFoundError:
            return None
        except DamagedPartError as error:
            _log.warning("prepared data: %s; it is computed as without", error)
            return None
        return found


@dataclass(frozen=True)
class Opened:
    """A data set, and what was prepared for it.

    Attributes:
        where: the folder.
        dataset: the data set.
        key: names the data; ``None``: there is no folder, so nothing was prepared.
    """

    where: PreparedFolder
    dataset: Dataset
    key: str | None

    def start(self, config: EngineConfig) -> Built | None:
        """The model before training, where it was prepared."""
        return self.where.start(config, self.key)

    def tables(self, reading: Reading) -> RowTables | None:
        """The token table, where it was prepared."""
        if self.key is None:
            return None
        arrays = self.where._read(f"tables-{tables_key(self.key, reading)}")
        return None if arrays is None else tables_of(arrays)

    def labels(self, clusters: Clusters) -> DatasetLabels | None:
        """The cluster of each row and text, where they were prepared."""
        if self.key is None:
            return None
        arrays = self.where._read(f"labels-{labels_key(self.key, clusters)}")
        if arrays is None:
            return None
        return DatasetLabels(arrays["rows"], arrays["texts"], clusters.count)


def reading_of(config: EngineConfig, built: Built) -> Reading:
    """How a config's training reads texts."""
    assert config.train is not None
    languages = (use.settings.language for use in config.train.teachers.values())
    return Reading(
        built.tokenizer,
        config.model.text.settings.max_tokens,
        tuple(config.train.languages),
        tuple(language for language in languages if language),
    )
