"""What is wanted, downloaded and failed, image by image: SQLite beside the data.

What is not committed never happened, and what is committed survives ``kill -9``. Memory does not
grow with the list: everything is read in ranges of positions, one shard's worth at a time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.click_log import REASONS
from engine.data.download.lists import VERSION, Fingerprint
from engine.data.download.outcome import Downloaded, Failed, Item
from engine.data.download.settings import DownloadSettings
from engine.errors import DataError

NAME = "state.sqlite"
"""The state's file in the folder of a download."""


@dataclass(frozen=True)
class SavedRow:
    """An image that was downloaded, as it stands in the result."""

    position: int
    id: str
    url: str
    queries: str
    width: int
    height: int
    size: int
    sha256: bytes


@dataclass(frozen=True)
class DownloadCounts:
    """Images and queries: of the list, and of what was downloaded; images that failed."""

    images: int
    downloaded: int
    failed: int
    texts: int
    texts_downloaded: int

    @property
    def left(self) -> int:
        """Images not tried to the end yet."""
        return self.images - self.downloaded - self.failed


class State:
    """The table of one download. One writer at a time: see the folder's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._table = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._table.execute("PRAGMA journal_mode=WAL")
            self._table.execute("PRAGMA synchronous=FULL")
            self._table.execute("PRAGMA cache_size=-8000")
            self._table.execute("PRAGMA temp_store=FILE")
            version = self.note("version")
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        if version != VERSION:
            raise DataError(f"{path} is of version {version}, and this Engine knows {VERSION}")
        self.images = int(self.note("images"))
        self.shard_size = int(self.note("settings")["shard_size"])

    def close(self) -> None:
        """What is not committed is dropped."""
        self._table.close()

    def note(self, key: str) -> Any:
        """What ``meta`` holds under a key, or ``None``."""
        found = self._table.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else json.loads(found[0])

    def set_note(self, key: str, value: Any) -> None:
        """Keep a value under a key."""
        self._table.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    def check(self, settings: DownloadSettings, metadata: Path, images: Path) -> None:
        """Whether the same download goes on.

        Raises:
            DataError: a list or a choice that shapes the result is another.
        """
        kept, given = self.note("settings"), settings.shaping()
        other = [
            f"{k}: {kept.get(k)} before, {v} now" for k, v in given.items() if kept.get(k) != v
        ]
        if other:
            raise DataError(
                f"{self.path.parent} was begun otherwise ({'; '.join(other)})",
                hint="go on with the choices it was begun with, or choose another folder",
            )
        for name, path in (("metadata", metadata), ("images", images)):
            print_ = Fingerprint(**self.note("lists")[name])
            # A list that is gone is not a hindrance: all of it is in the table.
            if path.exists() and not print_.is_of(path):
                raise DataError(
                    f"{path} is not the list that {self.path.parent} was begun with",
                    hint="choose another folder for the new list",
                )

    # ---- shards: fixed ranges of positions ------------------------------------------------

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard_size)

    def shard_of(self, position: int) -> int:
        """The shard that a position belongs to, from 0."""
        return (position - 1) // self.shard_size

    def _range(self, shard: int) -> tuple[int, int]:
        return shard * self.shard_size + 1, (shard + 1) * self.shard_size

    def unsealed(self) -> Iterator[int]:
        """Shards that are not sealed, in order."""
        sealed = {row[0] for row in self._table.execute("SELECT shard FROM sealed")}
        return (shard for shard in range(self.shards) if shard not in sealed)

    def sealed(self, shard: int) -> int | None:
        """Images of a sealed shard, or ``None``."""
        found = self._table.execute("SELECT images FROM sealed WHERE shard = ?", (shard,))
        row = found.fetchone()
        return None if row is None else int(row[0])

    def seal(self, shard: int, images: int) -> None:
        """The shard's files are in place."""
        self._table.execute("INSERT OR REPLACE INTO sealed VALUES (?, ?)", (shard, images))

    # ---- images ---------------------------------------------------------------------------

    def pending(self, shard: int) -> list[Item]:
        """The shard's images without a result, in order."""
        rows = self._table.execute(
            "SELECT position, id, url FROM images AS i WHERE position BETWEEN ? AND ?"
            " AND NOT EXISTS (SELECT 1 FROM downloaded WHERE position = i.position)"
            " AND NOT EXISTS (SELECT 1 FROM failed WHERE position = i.position)"
            " ORDER BY position",
            self._range(shard),
        )
        return [Item(*row) for row in rows]

    def failed(self, shard: int) -> list[Item]:
        """The shard's images that failed, in order."""
        rows = self._table.execute(
            "SELECT position, id, url FROM failed JOIN images USING (position)"
            " WHERE position BETWEEN ? AND ? ORDER BY position",
            self._range(shard),
        )
        return [Item(*row) for row in rows]

    def shards_with_failures(self) -> list[int]:
        """Shards in which an image failed."""
        rows = self._table.execute(
            "SELECT DISTINCT (position - 1) / ? FROM failed ORDER BY 1", (self.shard_size,)
        )
        return [row[0] for row in rows]

    def record(self, downloaded: Sequence[Downloaded], failed: Sequence[Failed]) -> None:
        """Keep results, all or none. A shard that gains an image is no longer sealed."""
        table = self._table
        table.execute("BEGIN IMMEDIATE")
        try:
            table.executemany(
                "INSERT OR REPLACE INTO downloaded VALUES (?, ?, ?, ?, ?)",
                [(h.position, h.width, h.height, h.size, h.sha256) for h in downloaded],
            )
            table.executemany(
                "DELETE FROM failed WHERE position = ?", [(h.position,) for h in downloaded]
            )
            table.executemany(
                "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?)",
                [
                    (x.position, x.failure.kind, x.failure.detail[:300], x.host[:300], x.attempts)
                    for x in failed
                ],
            )
            shards = {(self.shard_of(h.position),) for h in downloaded}
            table.executemany("DELETE FROM sealed WHERE shard = ?", list(shards))
            table.execute("COMMIT")
        except BaseException:
            if table.in_transaction:
                table.execute("ROLLBACK")
            raise

    def forget(self, positions: Iterable[int]) -> None:
        """Images that were downloaded, but whose files are gone, are wanted again."""
        gone = list(positions)
        self._table.execute("BEGIN IMMEDIATE")
        self._table.executemany("DELETE FROM downloaded WHERE position = ?", [(p,) for p in gone])
        shards = {(self.shard_of(p),) for p in gone}
        self._table.executemany("DELETE FROM sealed WHERE shard = ?", list(shards))
        self._table.execute("COMMIT")

    def downloaded_id(self, position: int) -> str | None:
        """The image's id if it was downloaded."""
        found = self._table.execute(
            "SELECT id FROM downloaded JOIN images USING (position) WHERE position = ?", (position,)
        ).fetchone()
        return None if found is None else str(found[0])

    def rows(self, shard: int | None = None) -> Iterator[SavedRow]:
        """Images that were downloaded, of one shard or all, in list order.

        Safe to use beside a writer, and from another thread than the writer's.
        """
        table = sqlite3.connect(self.path, isolation_level=None)
        try:
            table.execute("PRAGMA cache_size=-4000")
            first, last = (1, self.images) if shard is None else self._range(shard)
            for row in table.execute(
                "SELECT position, id, url, queries, width, height, size, sha256"
                " FROM downloaded JOIN images USING (position) WHERE position BETWEEN ? AND ?"
                " ORDER BY position",
                (first, last),
            ):
                yield SavedRow(*row)
        finally:
            table.close()

    # ---- what came of it ------------------------------------------------------------------

    def counts(self) -> DownloadCounts:
        """Counts of the whole list."""
        downloaded, texts = self._table.execute(
            "SELECT count(*), coalesce(sum(texts), 0) FROM downloaded JOIN images USING (position)"
        ).fetchone()
        failed = self._table.execute("SELECT count(*) FROM failed").fetchone()[0]
        return DownloadCounts(self.images, downloaded, failed, int(self.note("texts")), texts)

    def progress(self) -> tuple[int, int]:
        """Images downloaded and failed so far."""
        downloaded = self._table.execute("SELECT count(*) FROM downloaded").fetchone()[0]
        return downloaded, self._table.execute("SELECT count(*) FROM failed").fetchone()[0]

    def kinds(self) -> dict[str, int]:
        """Failures by kind, most frequent first."""
        return dict(
            self._table.execute(
                "SELECT kind, count(*) FROM failed GROUP BY kind ORDER BY 2 DESC, 1"
            ).fetchall()
        )

    def hosts(self, maximum: int) -> dict[str, dict[str, int]]:
        """Failures by host and kind, of the hosts with most failures."""
        found: dict[str, dict[str, int]] = {}
        for (host,) in self._table.execute(
            "SELECT host FROM failed GROUP BY host ORDER BY count(*) DESC, host LIMIT ?", (maximum,)
        ).fetchall():
            found[host] = {}
        marks = ", ".join("?" * len(found))
        for host, kind, count in self._table.execute(
            f"SELECT host, kind, count(*) FROM failed WHERE host IN ({marks})"
            " GROUP BY host, kind ORDER BY 3 DESC, 2",
            list(found),
        ):
            found[host][kind] = count
        return found

    def failures(self) -> Iterator[tuple[str, str, str, str]]:
        """Id, URL, kind and detail of every image that failed, in list order."""
        yield from self._table.execute(
            "SELECT id, url, kind, detail FROM failed JOIN images USING (position)"
            " ORDER BY position"
        )

    def bad_lines(self, maximum: int) -> list[tuple[str, int, str]]:
        """List, line and reason of the first bad lines."""
        rows = self._table.execute(
            "SELECT list, line, reason FROM bad ORDER BY list DESC, line LIMIT ?", (maximum,)
        )
        return [(name, line, REASONS[reason]) for name, line, reason in rows]

    def bad_reasons(self) -> dict[str, dict[str, int]]:
        """Bad lines by list and reason."""
        found: dict[str, dict[str, int]] = {"metadata": {}, "images": {}}
        for name, reason, count in self._table.execute(
            "SELECT list, reason, count(*) FROM bad GROUP BY list, reason ORDER BY 3 DESC, 2"
        ):
            found[name][REASONS[reason]] = count
        return found
