"""The files of a download, brought forward in steps that can each be cut off and done again.

A picture lies in the spool until its row is committed; only then it moves to ``images/`` or, with
its whole shard, into a tar. So a picture without a row is thrown away, and a row without its last
step has it done at the next start.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from engine.core.files import Lock, steps
from engine.data.download.outcome import Downloaded, Failed, Item
from engine.data.download.settings import DownloadSettings
from engine.data.download.shards import FOLDER, ShardFile, shard_paths, write_shard
from engine.data.download.spool import Spool, Spooled
from engine.data.download.state import NAME, SavedRow, State
from engine.errors import DataError

SPOOL = "spool"
LOCK, DECODERS = "lock", "decoders.lock"
_WAIT = 0.2
_WAIT_FOR_DECODERS = 30.0
"""Seconds."""

IMAGES = "images"
_LONGEST_NAME = 255


class Folder:
    """The folder of a download, held by this process alone.

    Attributes:
        decoders: a lock for the decoding processes to inherit: those of a killed run may write a
            moment longer, and the next run waits for them.

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
        message = f"{out} is in use by another process"
        hint = "wait for it, or stop it (Ctrl-C keeps all it has done)"
        self._lock = Lock(out / LOCK, message, wait=_WAIT, hint=hint)
        try:
            self.decoders = Lock(out / DECODERS, message, wait=_WAIT_FOR_DECODERS, hint=hint)
        except BaseException:
            self._lock.release()
            raise

    def _ours(self) -> bool:
        names = {path.name for path in self.out.iterdir()}
        begun = {NAME, NAME + ".tmp", NAME + ".tmp-journal", "lists.tmp", LOCK, DECODERS}
        return NAME in names or names <= begun

    def release(self) -> None:
        """Let others in."""
        self.decoders.release()
        self._lock.release()


class Store:
    """State and files of one download, kept in step.

    Args:
        out: the folder, whose lock is held.
        state: its table.
        settings: the choices.
    """

    def __init__(self, out: Path, state: State, settings: DownloadSettings) -> None:
        self.out, self.state, self.settings = out, state, settings
        self.folder = out / SPOOL
        self.spool = Spool(self.folder)
        self._tar = settings.format == "webdataset"
        for folder in (self.folder, out / (FOLDER if self._tar else IMAGES)):
            folder.mkdir(exist_ok=True)

    def target(self, position: int) -> Path | None:
        """Where a decoder is to write a picture; ``None``: it comes back, for :meth:`keep`."""
        return None if self._tar else self.folder / f"{position}.jpg"

    def keep(self, downloaded: Downloaded) -> Downloaded:
        """Spool a picture that came with its bytes; gives the result without them."""
        if downloaded.data is None:
            return downloaded
        path = self.target(downloaded.position)
        if path is None:
            self.spool.append(
                self.state.shard_of(downloaded.position), downloaded.position, downloaded.data
            )
        else:
            path.write_bytes(downloaded.data)
        return replace(downloaded, data=None)

    def _final(self, id_: str) -> Path:
        return self.out / IMAGES / f"{id_}.jpg"

    def recover(self) -> None:
        """Finish or undo what a killed run left. To be called once, before anything else."""
        if self._tar:
            for path in self.spool.files():
                if self.state.sealed(int(path.stem)) is not None:
                    steps.remove(path)
            for path in (self.out / FOLDER).glob("*.tmp"):
                steps.remove(path)
            return
        for path in sorted(self.folder.iterdir()):
            id_ = self.state.downloaded_id(int(path.stem)) if path.stem.isdigit() else None
            if id_ is None:
                steps.remove(path)
            else:
                steps.move(path, self._final(id_))

    def unfit(self, items: Sequence[Item]) -> set[int]:
        """Positions of the images whose id cannot be a file's name here."""
        if self._tar:
            return set()
        return {i.position for i in items if len(os.fsencode(i.id)) + 4 > _LONGEST_NAME}

    def record(
        self, downloaded: Sequence[tuple[Downloaded, str]], failed: Sequence[Failed]
    ) -> None:
        """Commit results; ``downloaded`` comes with the ids. The pictures lie in the spool."""
        self.state.record([h for h, _ in downloaded], failed)
        if not self._tar:
            for found, id_ in downloaded:
                steps.move(self.folder / f"{found.position}.jpg", self._final(id_))

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
        with closing(ShardFile(tar)) as written, Spooled(self.spool, shard) as spooled:
            read = self._reader(written, spooled)
            return write_shard(self.out, shard, self.state.rows(shard), read)

    def _reader(self, written: ShardFile, spooled: Spooled) -> Callable[[SavedRow], bytes]:
        def read(row: SavedRow) -> bytes:
            data = spooled.read(row.position, row.sha256)
            if data is None:
                data = written.read(row)
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
            self.spool.clear(shard)

    def close(self) -> None:
        """Close the spool, and remove it where nothing lies in it."""
        self.spool.close()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

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
                    steps.remove(path)

    def _lost_pictures(self) -> Iterator[int]:
        for shard in self.state.unsealed() if self._tar else range(self.state.shards):
            tar, _ = shard_paths(self.out, shard)
            with closing(ShardFile(tar)) as written, Spooled(self.spool, shard) as spooled:
                for row in self.state.rows(shard):
                    if not self._is_there(row, written, spooled):
                        yield row.position

    def _is_there(self, row: SavedRow, written: ShardFile, spooled: Spooled) -> bool:
        if self._tar:
            data = spooled.read(row.position, row.sha256) or written.read(row)
        else:
            path = self._final(row.id)
            data = path.read_bytes() if path.exists() else None
        return data is not None and hashlib.sha256(data).digest() == row.sha256
