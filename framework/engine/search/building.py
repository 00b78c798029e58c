"""An index is filled: new and changed pictures are encoded, what is gone is taken out.

Every batch is one transaction. A run that is stopped, by Ctrl-C, SIGTERM or a kill, has lost at
most the batch in work; the next run skips what is there and ends with the same index.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.files import explained, locked
from engine.core.foreign import clean_name
from engine.core.progress import Progress, silent
from engine.errors import DataError
from engine.search.catalogue import FILE, Catalogue
from engine.search.identity import check_model, keep_model
from engine.search.partition import renew
from engine.search.reading import ReadImage, read_ahead, settled
from engine.search.sources import SourceItem, find_items

if TYPE_CHECKING:
    from engine.evaluate.features import FeatureCache
    from engine.evaluate.predictor import Predictor

BATCH = 16
"""Images that run through the model at once."""
_ROWS = 64
"""Pictures of a transaction at most; fewer where they take long."""
_SECONDS = 5.0
LOCK = ".lock"


@dataclass
class IndexReport:
    """What a run did.

    Attributes:
        folder: of the index.
        found: pictures in the folders.
        unchanged: of these, as they were at the last run.
        encoded: that ran through the model.
        recognised: new places of pictures whose bytes were known (moved, renamed, copied).
        broken: that cannot be read, new ones and old ones.
        removed: places that are gone.
        pictures: in the index now.
        vectors: different pictures in the index now.
        seconds: that the run took.
        notes: what a user should know, sentences.
    """

    folder: str
    found: int = 0
    unchanged: int = 0
    encoded: int = 0
    recognised: int = 0
    broken: int = 0
    removed: int = 0
    pictures: int = 0
    vectors: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON's types."""
        return asdict(self)


def build_index(
    folder: Path,
    sources: Sequence[Path],
    predictor: Predictor,
    *,
    model: Path | None = None,
    workers: int | None = None,
    reduced: bool = True,
    features: FeatureCache | None = None,
    progress: Progress = silent,
) -> IndexReport:
    """Make an index of the pictures in folders, or bring one up to date.

    Args:
        folder: of the index; made where there is none.
        sources: folders of pictures, of any layout, with shards (tar files) in them or not.
        predictor: the model.
        model: where it was loaded from; kept, so that a search finds it.
        workers: threads that read and decode; ``None``: one a core, at most 8.
        reduced: decode large JPEGs at a part of their size: several times faster; vectors differ
            slightly from those of whole pictures.
        features: where vision features are kept; ``None``: the tower runs for every new picture.
        progress: receives how many pictures were found, and in words how many of them encoded.

    Raises:
        DataError: a folder is missing or has no picture; the index is of another model, or is
            being written by another process; a vector is not finite.
        WriteError: the disk is full.
    """
    started = time.monotonic()
    sources = _check(sources)
    _make(folder)
    with explained(folder), locked(folder / LOCK, f"{folder} is being written by another process",
                                   wait=2.0):  # fmt: skip
        catalogue = Catalogue(folder, writable=True)
        try:
            check_model(catalogue, predictor, folder)
            keep_model(catalogue, predictor, model, reduced)
            run = _Run(catalogue, predictor, folder, features, progress)
            for source in sources:
                run.of_folder(source, workers, reduced)
            run.drop_orphans()
            renew(folder, catalogue, predictor.model.embed_dim)
            vectors, read, broken = catalogue.count()
            report = run.report
            report.vectors, report.pictures, report.broken = vectors, read, broken
            report.seconds = time.monotonic() - started
            return report
        finally:
            catalogue.close()


def _check(sources: Sequence[Path]) -> list[Path]:
    """The folders, absolute, each once.

    Raises:
        DataError: none, or one that is not there.
    """
    found = list(dict.fromkeys(Path(os.path.abspath(source)) for source in sources))  # noqa: PTH100 (links stay)
    if not found:
        raise DataError("no folder of pictures is given")
    for source in found:
        if not source.is_dir():
            what = "is not a folder" if source.exists() else "no such folder"
            raise DataError(f"{source}: {what}", hint="name folders with pictures in them")
    return found


def _make(folder: Path) -> None:
    if folder.is_dir() and not (folder / FILE).is_file():
        others = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
        if any(not name.startswith(FILE) for name in others):
            raise DataError(f"{folder} is not an index and is not empty",
                            hint="choose another folder with `-o`")  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{folder} cannot be an index: it is a file, or lies in one") from error


class _Run:
    def __init__(
        self,
        catalogue: Catalogue,
        predictor: Predictor,
        folder: Path,
        features: FeatureCache | None,
        progress: Progress,
    ) -> None:
        self.catalogue, self.predictor, self.progress = catalogue, predictor, progress
        self.report = IndexReport(str(folder))
        self.number = int(catalogue.about("run") or 0) + 1
        catalogue.tell("run", str(self.number))
        self.tower = features.tower(predictor) if features else None

    def of_folder(self, source: Path, workers: int | None, reduced: bool) -> None:
        """Bring one folder up to date."""
        raw = os.fsencode(source)
        self.catalogue.change([("INSERT OR IGNORE INTO folders(path) VALUES(?)", (raw,))])
        (self.place,) = self.catalogue.rows("SELECT id FROM folders WHERE path = ?", (raw,))[0]
        closed: list[tuple[Path, str]] = []
        before, same = self.report.found, _Same(self)
        todo = same.changed(find_items(source, lambda path, why: closed.append((path, why))))
        preprocess = self.predictor.model.vision.preprocess
        waiting: list[ReadImage] = []
        since = time.monotonic()
        for read in read_ahead(
            todo, preprocess, self.catalogue.vector_of, workers=workers, reduced=reduced
        ):
            waiting.append(read)
            full = sum(each.pixels is not None for each in waiting) >= BATCH
            if full or len(waiting) >= _ROWS or time.monotonic() - since > _SECONDS:
                self.write(waiting, same.take())
                waiting, since = [], time.monotonic()
        self.write(waiting, same.take())
        if closed:
            shown = f"{clean_name(str(closed[0][0]))}: {closed[0][1]}"
            self.report.notes.append(
                f"{len(closed):,} folders cannot be listed, the first: {shown}; what the index"
                " holds of them stays"
            )
        self._remove_gone(source, [path for path, _ in closed], self.report.found - before)

    def write(self, reads: Sequence[ReadImage], same: Sequence[tuple[bytes, str]]) -> None:
        """Encode and store some pictures in one transaction, and mark those that are unchanged."""
        todo = {read.digest: read for read in reads if read.pixels is not None}
        vectors: dict[bytes, bytes] = {}
        if todo:
            pixels = [read.pixels for read in todo.values() if read.pixels is not None]
            names = [clean_name(str(read.item.path)) for read in todo.values()]
            rows = self.predictor.encode_pixels(pixels, names, self.tower).numpy()
            vectors = {
                digest: np.ascontiguousarray(row, np.float32).tobytes()
                for digest, row in zip(todo, rows, strict=True)
            }
        self.catalogue.change([*self._changes(reads, vectors), *self._seen(same)])
        self.report.encoded += len(vectors)
        self.report.recognised += sum(read.vector is not None for read in reads)
        self.progress(f"{self.report.encoded:,} pictures encoded, found", self.report.found)

    def _changes(
        self, reads: Sequence[ReadImage], vectors: dict[bytes, bytes]
    ) -> Iterator[tuple[str, Sequence[Any]]]:
        for digest, vector in vectors.items():
            yield (
                "INSERT OR IGNORE INTO vectors(digest, vector) VALUES(?, ?)", (digest, vector),
            )  # fmt: skip
        for read in reads:
            item = read.item
            number = "(SELECT id FROM vectors WHERE digest = ?)" if not read.problem else "NULL"
            yield (
                "INSERT OR REPLACE INTO pictures"
                "(folder, path, member, start, size, mtime, taken, vector, error, run)"
                f" VALUES(?, ?, ?, ?, ?, ?, ?, {number}, ?, ?)",
                (
                    self.place, os.fsencode(item.path), item.member, item.start, item.size,
                    settled(item, read.moment), read.taken,
                    *([] if read.problem else [read.digest]),
                    clean_name(read.problem)[:500], self.number,
                ),
            )  # fmt: skip

    def _seen(self, same: Sequence[tuple[bytes, str]]) -> Iterator[tuple[str, Sequence[Any]]]:
        for path, member in same:
            yield (
                "UPDATE pictures SET run = ?, folder = ? WHERE path = ? AND member = ?",
                (self.number, self.place, path, member),
            )

    def _remove_gone(self, source: Path, closed: Sequence[Path], found: int) -> None:
        """Take out the pictures of this folder that were not seen; not below what is closed."""
        sql = "SELECT id, path FROM pictures WHERE folder = ? AND run < ?"
        gone = [
            number
            for number, path in self.catalogue.rows(sql, (self.place, self.number))
            if not any(Path(os.fsdecode(path)).is_relative_to(each) for each in closed)
        ]
        if not found and (gone or not closed):
            raise DataError(
                f"{source} has no picture" + (f", and the index has {len(gone):,} from it, which"
                " stay" if gone else ""),
                hint="is the disk connected? To leave these out, make the index again"
                if gone else "pictures are JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF files",
            )  # fmt: skip
        self.catalogue.change(("DELETE FROM pictures WHERE id = ?", (each,)) for each in gone)
        self.report.removed += len(gone)

    def drop_orphans(self) -> None:
        """Take out the vectors that no picture has any more."""
        orphan = "id NOT IN (SELECT vector FROM pictures WHERE vector IS NOT NULL)"
        self.catalogue.change(
            [
                (f"INSERT INTO removed(vector) SELECT id FROM vectors WHERE {orphan}", ()),
                (f"DELETE FROM vectors WHERE {orphan}", ()),
                ("DELETE FROM pairs WHERE first NOT IN (SELECT id FROM vectors)"
                 " OR second NOT IN (SELECT id FROM vectors)", ()),
            ]
        )  # fmt: skip


class _Same:
    """Sorts out the pictures that are as they were; keeps their places until they are marked."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._places: list[tuple[bytes, str]] = []

    def changed(self, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
        """Those that are new or were changed."""
        report, catalogue = self._run.report, self._run.catalogue
        for item in items:
            report.found += 1
            known = catalogue.entry(item.path, item.member)
            if (
                known is not None
                and (known.size, known.mtime, known.start) == (item.size, item.mtime, item.start)
                and not item.problem
            ):
                report.unchanged += 1
                self._places.append((os.fsencode(item.path), item.member))
                if len(self._places) >= 1000:
                    self._run.write([], self.take())
                continue
            yield item

    def take(self) -> list[tuple[bytes, str]]:
        """The places since the last call."""
        found, self._places = self._places, []
        return found
