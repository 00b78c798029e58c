"""The files of a download, brought forward in steps that can each be cut off and done again.

A picture lies in ``spool/<position>.jpg`` until its row is committed; only then it moves to
``images/`` or, with its whole shard, into a tar. So a file without a row is thrown away at the next
start, and a row without its last step has it done.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.data.download import durable
from engine.data.download.outcome import Had, Item, Lost
from engine.data.download.settings import DownloadSettings
from engine.data.download.shards import FOLDER, OldShard, shard_paths, write_shard
from engine.data.download.state import NAME, Row, State
from engine.errors import DataError

SPOOL = "spool"
LOCK = "lock"
IMAGES = "images"
_LONGEST_NAME = 255


class Folder:
    """The folder of a download, held by this process alone.

    Raises:
        DataError: another process is at work there, or the folder holds something else.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        if out.exists() and not out.is_dir():
            raise DataError(f"{out} is not a folder")
        if out.is_dir() and any(out.iterdir()) and not self._ours():
            raise DataError(
                f"{out} exists and no download was begun there, so nothing is written into it",
                hint="choose another folder, or an empty one",
            )
        out.mkdir(parents=True, exist_ok=True)
        self.lock = _lock(out / LOCK)

    def _ours(self) -> bool:
        names = {path.name for path in self.out.iterdir()}
        begun = {NAME, NAME + ".tmp", NAME + ".tmp-journal", "lists.tmp", LOCK}
        return NAME in names or names <= begun

    def release(self) -> None:
        """Let others in."""
        os.close(self.lock)


def _lock(path: Path) -> int:
    """Take the lock; decoders of a killed run hold it a moment longer, so wait for those."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    give_up = time.monotonic() + 30
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
            if _alive(holder) or time.monotonic() > give_up:
                os.close(handle)
                raise DataError(
                    f"{path.parent} is in use by another process ({holder or 'unknown'})",
                    hint="wait for it, or stop it (Ctrl-C keeps all it has done)",
                ) from None
            time.sleep(0.05)
        else:
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
            return handle


def _alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Store:
    """State and files of one download, kept in step.

    Args:
        out: the folder, whose lock is held.
        state: its table.
        settings: the choices.
    """

    def __init__(self, out: Path, state: State, settings: DownloadSettings) -> None:
        self.out, self.state, self.settings = out, state, settings
        self.spool = out / SPOOL
        self._tar = settings.format == "webdataset"
        for folder in (self.spool, out / (FOLDER if self._tar else IMAGES)):
            folder.mkdir(exist_ok=True)

    def spooled(self, position: int) -> Path:
        """Where a picture lies until its row is committed."""
        return self.spool / f"{position}.jpg"

    def _final(self, id_: str) -> Path:
        return self.out / IMAGES / f"{id_}.jpg"

    def recover(self) -> None:
        """Finish or undo what a killed run left. To be called once, before anything else."""
        for path in sorted(self.spool.iterdir()):
            position = int(path.stem) if path.suffix == ".jpg" and path.stem.isdigit() else None
            id_ = None if position is None else self.state.was_had(position)
            if position is None or id_ is None:
                durable.remove(path)
            elif not self._tar:
                durable.move(path, self._final(id_))
            elif self.state.sealed(self.state.shard_of(position)) is not None:
                durable.remove(path)
        if self._tar:
            for path in (self.out / FOLDER).glob("*.tmp"):
                durable.remove(path)

    def unfit(self, items: Sequence[Item]) -> set[int]:
        """Positions of the images whose id cannot be a file's name here."""
        if self._tar:
            return set()
        return {i.position for i in items if len(os.fsencode(i.id)) + 4 > _LONGEST_NAME}

    def record(self, had: Sequence[tuple[Had, str]], lost: Sequence[Lost]) -> None:
        """Commit results; ``had`` comes with the ids. The pictures lie in the spool."""
        self.state.record([h for h, _ in had], lost)
        if not self._tar:
            for found, id_ in had:
                durable.move(self.spooled(found.position), self._final(id_))

    def seal(self, shard: int) -> None:
        """Close a shard in which every image has its result; each step may be done again."""
        if self.state.sealed(shard) is None:
            self.state.seal(shard, self.build(shard))
            self.clear(shard)

    def build(self, shard: int) -> int:
        """Write the shard's files; may run in another thread. Gives the number of images."""
        if not self._tar:
            return sum(1 for _ in self.state.rows(shard))
        tar, _ = shard_paths(self.out, shard)
        old = OldShard(tar)
        try:
            return write_shard(self.out, shard, self.state.rows(shard), self._reader(old))
        finally:
            old.close()

    def _reader(self, old: OldShard) -> Callable[[Row], bytes]:
        def read(row: Row) -> bytes:
            # The spool first: what lies there is what the row was made of.
            path = self.spooled(row.position)
            data = path.read_bytes() if path.exists() else old.read(row)
            if data is None:
                raise DataError(
                    f"the picture {row.id} is gone from {self.out}, where it was before",
                    hint="`engine data verify` lists what is missing",
                )
            return data

        return read

    def clear(self, shard: int) -> None:
        """Remove what a sealed shard leaves in the spool; may run in another thread."""
        if self._tar:
            for row in self.state.rows(shard):
                durable.remove(self.spooled(row.position))

    def tidy(self) -> None:
        """Remove the spool where nothing lies in it."""
        with contextlib.suppress(OSError):
            self.spool.rmdir()

    def recheck(self) -> None:
        """Compare every picture outside tars with its row, and the reverse.

        For after a crash of the whole machine, which may have lost what was not synced: lost
        pictures are wanted again, pictures without a row are removed.
        """
        self.state.forget(list(self._lost_pictures()))
        if not self._tar:
            kept = {row.id for row in self.state.rows()}
            for path in (self.out / IMAGES).iterdir():
                if path.name.removesuffix(".jpg") not in kept:
                    durable.remove(path)

    def _lost_pictures(self) -> Iterator[int]:
        for shard in range(self.state.shards):
            if self._tar and self.state.sealed(shard) is not None:
                continue
            old = OldShard(shard_paths(self.out, shard)[0]) if self._tar else None
            for row in self.state.rows(shard):
                path = self.spooled(row.position) if self._tar else self._final(row.id)
                data = path.read_bytes() if path.exists() else old.read(row) if old else None
                if data is None or hashlib.sha256(data).digest() != row.sha256:
                    yield row.position
            if old:
                old.close()
