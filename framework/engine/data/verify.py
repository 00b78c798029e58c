"""Whether a folder of training data is whole: every row has its image, every image decodes.

Works on what ``engine data download`` leaves, in either format, and on any folder that the
``engine.data.formats.CLICK_LOG`` describes. Memory grows by 8 bytes an image.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.progress import Progress, silent
from engine.core.regular_file import open_regular, read_regular
from engine.data.click_log import BadLineError, parse_queries, read_lines
from engine.data.download.report import METADATA, REPORT, make_report
from engine.data.download.shards import FOLDER, key_of
from engine.data.download.state import NAME, State
from engine.data.download.store import IMAGES, Folder
from engine.data.pictures import MAX_BYTES, decode
from engine.data.shards import read_members, read_table
from engine.errors import BrokenImageError, DataError

_LISTED = 1000
_UNDER_WAY = 64
_MAX_REPORT = 1 << 26


@dataclass(frozen=True)
class DataFault:
    """Something that is not as it should be: its kind for counting, where, and how."""

    kind: str
    where: str
    how: str = ""


@dataclass
class Verdict:
    """What was looked at and what was found; of very many faults the first are listed."""

    format: str
    rows: int = 0
    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[DataFault] = field(default_factory=list)

    def fault(self, kind: str, where: str, how: str = "") -> None:
        """Count a fault, and list it while there is room."""
        self.counts[kind] += 1
        if len(self.faults) < _LISTED:
            self.faults.append(DataFault(kind, where, how))

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts


class Ids:
    """A set of ids in 8 bytes each. Two ids of one hash are taken for one: 1 in 10^12 at most."""

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._sorted: Any = None

    def add(self, id_: str) -> None:
        """Add one."""
        self._hashes.append(_hash(id_))

    def freeze(self) -> Iterator[int]:
        """Make it ready for :meth:`__contains__`; gives the places of repeated ids."""
        import numpy as np

        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[order]
        again = np.flatnonzero(self._sorted[1:] == self._sorted[:-1]) + 1
        return (int(order[place]) for place in again)

    def __contains__(self, id_: str) -> bool:
        import numpy as np

        place = int(np.searchsorted(self._sorted, np.uint64(_hash(id_))))
        return place < len(self._sorted) and int(self._sorted[place]) == _hash(id_)

    def __len__(self) -> int:
        return len(self._hashes)


def _hash(id_: str) -> int:
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")


def verify(out: Path, progress: Progress = silent) -> Verdict:
    """Look at every row and every image.

    Raises:
        DataError: there is nothing to look at, or a download is at work there.
    """
    metadata, images, shards = out / METADATA, out / IMAGES, out / FOLDER
    begun = (out / NAME).is_file()
    if not metadata.is_file():
        raise DataError(
            f"{out} holds no {METADATA}" + (": its download never came to an end" if begun else ""),
            hint="give the same `engine data download` again: it goes on where it stopped"
            if begun
            else f"name a folder with {METADATA} and {IMAGES}/ or {FOLDER}/",
        )
    if not images.is_dir() and not shards.is_dir():
        raise DataError(f"{out} holds neither {IMAGES}/ nor {FOLDER}/")
    verdict = Verdict("files" if images.is_dir() else "webdataset")
    lock = Folder(out) if begun else None
    try:
        rows = _rows(metadata, verdict)
        state = State(out / NAME) if begun else None
        try:
            if verdict.format == "files":
                _files(images, metadata, rows, state, verdict, progress)
            else:
                _shards(shards, metadata, rows, verdict, progress)
            if state is not None:
                _agrees(out, state, verdict)
        finally:
            if state is not None:
                state.close()
    finally:
        if lock is not None:
            lock.release()
    return verdict


def _ids(metadata: Path) -> Iterator[str]:
    with metadata.open("rb") as file:
        for _, _, line in read_lines(file):
            try:
                yield parse_queries(line).id
            except BadLineError:
                continue


def _rows(metadata: Path, verdict: Verdict) -> Ids:
    rows, numbers = Ids(), array("Q")
    with metadata.open("rb") as file:
        for number, _, line in read_lines(file):
            try:
                rows.add(parse_queries(line).id)
                numbers.append(number)
            except BadLineError as error:
                verdict.fault("bad line", f"{metadata.name}, line {number}", str(error))
    for place in rows.freeze():
        verdict.fault("row twice", f"{metadata.name}, line {numbers[place]}")
    verdict.rows = len(rows)
    return rows


# ---- images as files --------------------------------------------------------------------------


def _files(
    images: Path,
    metadata: Path,
    rows: Ids,
    state: State | None,
    verdict: Verdict,
    progress: Progress,
) -> None:
    def looks() -> Iterator[tuple[str, Callable[[], str]]]:
        if state is not None:
            for row in state.rows():
                path = images / f"{row.id}.jpg"
                yield str(path), lambda p=path, d=row.sha256: _look(p, d)  # type: ignore[misc]
        else:
            for id_ in _ids(metadata):
                path = images / f"{id_}.jpg"
                yield str(path), lambda p=path: _look(p, None)  # type: ignore[misc]

    _look_at_all(looks(), verdict, progress)
    with os.scandir(images) as entries:
        for entry in entries:
            if entry.name.removesuffix(".jpg") not in rows:
                verdict.fault("image without row", entry.path)


def _look(path: Path, digest: bytes | None) -> str:
    """What is wrong with a file, or nothing."""
    try:
        data = read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error}"
    return _look_at(data, digest)


def _look_at(data: bytes, digest: bytes | None) -> str:
    if digest is not None and hashlib.sha256(data).digest() != digest:
        return "not the bytes that were written: its SHA-256 is another"
    try:
        decode(data, at_least=1)
    except BrokenImageError as error:
        return error.reason
    return ""


def _look_at_all(
    looks: Iterable[tuple[str, Callable[[], str]]], verdict: Verdict, progress: Progress
) -> None:
    """Decode in threads (PIL's readers let others run), a bounded number under way."""
    under_way: deque[tuple[str, Future[str]]] = deque()

    def take() -> None:
        where, future = under_way.popleft()
        if how := future.result():
            kind = "row without image" if how == "missing" else "broken image"
            verdict.fault(kind, where, "" if how == "missing" else how)
        else:
            verdict.images += 1
        seen[0] += 1
        if seen[0] % 50 == 0:
            progress("images", seen[0], verdict.rows)

    seen = [0]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        for where, look in looks:
            under_way.append((where, threads.submit(look)))
            if len(under_way) >= _UNDER_WAY:
                take()
        while under_way:
            take()
    progress("images", seen[0], verdict.rows)


# ---- images in shards -------------------------------------------------------------------------


def _shards(folder: Path, metadata: Path, rows: Ids, verdict: Verdict, progress: Progress) -> None:
    packed = Ids()

    def looks() -> Iterator[tuple[str, Callable[[], str]]]:
        for table in sorted(folder.glob("*.parquet")):
            tar = table.with_suffix(".tar")
            if not tar.is_file():
                verdict.fault("shard without tar", str(table))
                continue
            members = _members(tar, verdict)
            for id_, offset, size, digest in _table(table, verdict):
                where = f"{tar}, image {id_}"
                packed.add(id_)
                if id_ not in rows:
                    verdict.fault("image without row", where)
                key = key_of(id_)
                if members.pop(f"{key}.jpg", None) != (offset, size):
                    verdict.fault("table and tar disagree", where)
                if members.pop(f"{key}.json", None) is None:
                    verdict.fault("image without its JSON", where)
                yield where, lambda t=tar, o=offset, s=size, d=digest: _look_in(t, o, s, d)  # type: ignore[misc]
            for name in members:
                verdict.fault("member without row", f"{tar}, {name}")

    _look_at_all(looks(), verdict, progress)
    for tar in sorted(folder.glob("*.tar")):
        if not tar.with_suffix(".parquet").is_file():
            verdict.fault("tar without table", str(tar))
    for _ in packed.freeze():
        verdict.fault("image twice", str(folder))
    for id_ in _ids(metadata):
        if id_ not in packed:
            verdict.fault("row without image", f"image {id_}")


def _look_in(tar: Path, offset: int, size: int, digest: bytes) -> str:
    try:
        with open_regular(tar) as file:
            file.seek(offset)
            return _look_at(file.read(size), digest)
    except OSError as error:
        return f"cannot be read: {error}"


def _members(tar: Path, verdict: Verdict) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        for member in read_members(tar):
            if member.name in found:
                verdict.fault("member twice", f"{tar}, {member.name}")
            found[member.name] = (member.offset, member.size)
    except DataError as error:
        verdict.fault("broken tar", str(tar), error.message)
    return found


def _table(path: Path, verdict: Verdict) -> Iterator[tuple[str, int, int, bytes]]:
    try:
        for rows in read_table(path, digests=True):
            places = rows.offsets.tolist(), rows.sizes.tolist()
            yield from zip(rows.ids, *places, rows.digests, strict=True)
    except DataError as error:
        verdict.fault("broken table", str(path), error.message)


# ---- what the download says of itself ---------------------------------------------------------


def _agrees(out: Path, state: State, verdict: Verdict) -> None:
    """Whether state, report and rows tell the same."""
    counts = state.counts()
    if counts.left:
        verdict.fault("not finished", str(out), f"{counts.left:,} images are still to be had")
    if counts.downloaded != verdict.rows:
        how = f"{counts.downloaded:,} images downloaded, {verdict.rows:,} rows"
        verdict.fault("counts disagree", f"{NAME} and {METADATA}", how)
    try:
        written = json.loads(read_regular(out / REPORT, _MAX_REPORT))
        if not isinstance(written, dict):
            raise ValueError("it is not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        verdict.fault("report cannot be read", str(out / REPORT), str(error))
        return
    for key in ("images", "queries"):
        known = make_report(state)[key]
        if written.get(key) != known:
            how = f"{written.get(key)} reported, {known} known"
            verdict.fault("counts disagree", f"{REPORT}, {key}", how)
