"""The work of ``engine data prepare``: in parts, so that a stop loses seconds and machines share.

Parts depend on nothing but the data and the start of the run. Whoever finds all of them there joins
them, so any number of processes may work on one folder, in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clusters.assign import label_dataset
from engine.clusters.building import clusters_of
from engine.clusters.store import Clusters
from engine.contracts.dataset import Dataset
from engine.core.config.schema import EngineConfig
from engine.core.files import explained, locked
from engine.core.progress import Progress, silent
from engine.errors import ConfigError
from engine.prepare.chunks import Chunk, Reading, chunk_ranges, read_chunk
from engine.prepare.folder import PreparedFolder, reading_of
from engine.prepare.keys import labels_key, tables_key
from engine.prepare.store import DamagedPartError, Parts, is_whole, writing
from engine.prepare.tables import join

_WAIT = 24 * 3600.0
_TRIES = 3


@dataclass(frozen=True)
class Share:
    """Which parts are this process's: those whose number leaves ``number`` over after ``count``.

    Attributes:
        number: of this process, from 0.
        count: of all processes.
    """

    number: int = 0
    count: int = 1


@dataclass(frozen=True)
class Prepared:
    """What was done.

    Attributes:
        folder: where it lies.
        rows: of the data set.
        texts: of all rows that training reads; 0 while parts are missing.
        sequences: different token sequences; 0 while parts are missing.
        clusters: whether rows and texts have cluster labels.
        bytes: of all files for this config.
        missing: parts that other processes still have to compute; 0: it is whole.
    """

    folder: Path
    rows: int
    texts: int
    sequences: int
    clusters: bool
    bytes: int
    missing: int


def prepare(
    config: EngineConfig, share: Share | None = None, progress: Progress = silent
) -> Prepared:
    """Compute what training of a config needs of its data.

    Args:
        config: with ``train`` and ``data.train``.
        share: which parts to compute; by default all.
        progress: receives how it goes.

    Raises:
        ConfigError: the config trains nothing.
        KeyboardInterrupt, SystemExit: with a note that says how to go on.
    """
    if config.train is None or config.data.train is None:
        missing = "train:" if config.train is None else "data.train"
        raise ConfigError(
            f"{config.name}: `{missing}` is missing, so there is nothing to prepare",
            hint="data are prepared for training: name the stages and the data set",
        )
    with _goes_on(), explained(config.data.prepared or PreparedFolder.of(config).folder):
        return _prepare(config, share or Share(), progress)


def _prepare(config: EngineConfig, share: Share, progress: Progress) -> Prepared:
    where = PreparedFolder.of(config, progress)
    where.folder.mkdir(parents=True, exist_ok=True)
    progress("opening the data")
    opened = where.open()
    dataset, key = opened.dataset, opened.key
    assert key is not None
    index = where.folder / f"index-{key}"
    arrays = {} if is_whole(index) else dataset.index()
    if arrays:
        with writing(index, {"data": config.data.train.to_config()}) as files:  # type: ignore[union-attr]
            for name, array in arrays.items():
                files.add(name, array)
    progress("the model before training")
    built = where.make_start(config, key)
    reading, clusters = reading_of(config, built), clusters_of(built)
    names = [f"tables-{tables_key(key, reading)}"]
    left = _Tables(dataset, reading).run(where.folder / names[0], share, progress)
    if clusters is not None:
        names.append(f"labels-{labels_key(key, clusters)}")
        left += _Labels(dataset, clusters).run(where.folder / names[1], share, progress)
    tables = opened.tables(reading) if not left else None
    folders = [
        index,
        where.folder / where.start_name(config, key),
        *map(where.folder.joinpath, names),
    ]
    return Prepared(
        folder=where.folder,
        rows=len(dataset),
        texts=0 if tables is None else len(tables.sequence),
        sequences=0 if tables is None else len(tables.starts) - 1,
        clusters=clusters is not None,
        bytes=sum(p.stat().st_size for f in folders if f.is_dir() for p in f.iterdir()),
        missing=left,
    )


@contextmanager
def _goes_on() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("every finished part is kept; the same command goes on")
        raise


class _Work:
    """Something of a data set that is computed in parts."""

    what: str

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.ranges = chunk_ranges(len(dataset))

    def run(self, folder: Path, share: Share, progress: Progress) -> int:
        """Compute this process's parts, and join all where they are there.

        Returns:
            Parts that other processes have to compute.
        """
        for _ in range(_TRIES):  # a damaged part is found when it is joined, and computed again
            if is_whole(folder):
                return 0
            parts = Parts(folder.with_name(f"{folder.name}.parts"), len(self.ranges))
            self._compute(parts, share, progress)
            left = len(parts.missing())
            if left:
                return left
            message = f"{folder} is being written by another process"
            with locked(folder.with_name(f".{folder.name}.making"), message, wait=_WAIT):
                if is_whole(folder):
                    return 0
                progress(f"{self.what}: joining")
                try:
                    self._join(parts, folder)
                except DamagedPartError as error:
                    progress(f"{error}: it is computed again")
                    continue
                parts.remove()
        return 0

    def _compute(self, parts: Parts, share: Share, progress: Progress) -> None:
        done = len(parts) - len(parts.missing())
        for number in parts.missing():
            if number % share.count != share.number:
                continue
            progress(self.what, done, len(parts))
            parts.write(number, self._part(self.ranges[number]))
            done += 1
        progress(self.what, done, len(parts))

    def _part(self, rows: range) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def _join(self, parts: Parts, folder: Path) -> None:
        raise NotImplementedError


class _Tables(_Work):
    """The token table."""

    what = "texts"

    def __init__(self, dataset: Dataset, reading: Reading) -> None:
        super().__init__(dataset)
        self._reading = reading

    def _part(self, rows: range) -> dict[str, NDArray[Any]]:
        return read_chunk(self.dataset, rows, self._reading).arrays()

    def _join(self, parts: Parts, folder: Path) -> None:
        with writing(folder, {"data": self.dataset.name, "rows": len(self.dataset)}) as files:
            join(_Chunks(parts), files.allocate)


class _Labels(_Work):
    """The clusters of rows and texts."""

    what = "clusters"

    def __init__(self, dataset: Dataset, clusters: Clusters) -> None:
        super().__init__(dataset)
        self._clusters = clusters

    def _part(self, rows: range) -> dict[str, NDArray[Any]]:
        found = label_dataset(self._clusters, self.dataset, rows=rows)
        return {"rows": found.rows, "texts": found.texts}

    def _join(self, parts: Parts, folder: Path) -> None:
        read = [parts.read(number) for number in range(len(parts))]
        with writing(folder, {"data": self.dataset.name, "rows": len(self.dataset)}) as files:
            for name in ("rows", "texts"):
                files.add(name, np.concatenate([part[name] for part in read]))


class _Chunks:
    """Parts as chunks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> Chunk:
        return Chunk.of(self._parts.read(number))
