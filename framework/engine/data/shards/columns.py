"""Parquet shards: a table with a column of picture files and one of texts, read by row groups.

Hugging Face's way of a picture, a struct with ``bytes``, is read as well as plain bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.shards.blocks import BUDGET, BlockFile, Blocks, RecentBlocks
from engine.data.shards.samples import FIELDS, texts_of
from engine.data.store_folder import StoredFile
from engine.errors import DataError

IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")
KEYS = ("id", "key", "__key__", "image_id")
MAX_GROUP = 1 << 30
"""Bytes of the columns of a row group once unpacked."""


@dataclass(frozen=True)
class ColumnNames:
    """The columns of a table.

    Attributes:
        image: picture files.
        texts: a text, or a list of texts; ``None``: rows have none.
        key: ids; ``None``: rows are numbered.
    """

    image: str
    texts: str | None
    key: str | None


class ParquetShards:
    """The rows of parquet files, one after the other.

    Args:
        blocks: of the folder.
        files: the tables, in order.
        image: name of the column of pictures; ``None``: one of :data:`IMAGES`.
        texts: names of the column of texts, of which the first that there is is taken.

    Raises:
        DataError: a file is not parquet, has no pictures, or its row groups are too large.
    """

    def __init__(
        self,
        blocks: Blocks,
        files: Sequence[StoredFile],
        image: str | None = None,
        texts: Sequence[str] = FIELDS,
        index: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self._blocks, self._files = blocks, list(files)
        self._image, self._texts = image, tuple(texts)
        if index is None:
            counts = [self._about(number) for number in range(len(files))]
            groups = [len(each) for each in counts]
            index = {
                "group_ends": np.cumsum(np.concatenate([np.zeros(0, np.int64), *counts])),
                "group_shard": np.repeat(np.arange(len(files), dtype=np.int64), groups),
                "group_number": np.concatenate(
                    [np.zeros(0, np.int64), *(np.arange(n, dtype=np.int64) for n in groups)]
                ),
            }
        self._index = dict(index)
        self._recent: RecentBlocks[tuple[int, bool], list[dict[str, Any]]] = RecentBlocks(
            self._load, _bytes_of, BUDGET
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Where row groups begin."""
        return self._index

    @property
    def starts(self) -> NDArray[np.int64]:
        """[files + 1], where each file's rows begin."""
        ends, shard = self._index["group_ends"], self._index["group_shard"]
        found = np.zeros(len(self._files) + 1, np.int64)
        for group in range(len(ends)):
            found[shard[group] + 1] = ends[group]
        return np.maximum.accumulate(found)

    def key(self, row: int) -> str | None:
        """The id that stands in the table."""
        value = self._row(row, texts=True).get("key")
        return None if value is None else str(value)

    def texts(self, row: int) -> tuple[str, ...]:
        """The texts of a row.

        Raises:
            ValueError: they are no texts.
        """
        value = self._row(row, texts=True).get("texts")
        return () if value is None else texts_of(value)

    def picture(self, row: int) -> bytes:
        """The picture file of a row; empty where it has none."""
        value = self._row(row, texts=False)["image"]
        value = value.get("bytes") if isinstance(value, dict) else value
        return value if isinstance(value, bytes) else b""

    def _row(self, row: int, *, texts: bool) -> dict[str, Any]:
        ends = self._index["group_ends"]
        group = int(np.searchsorted(ends, row, "right"))
        first = int(ends[group - 1]) if group else 0
        return self._recent.get((group, texts))[row - first]

    def _open(self, number: int) -> Any:
        from pyarrow import parquet  # type: ignore[import-untyped]

        file = self._files[number]
        raw = io.BufferedReader(BlockFile(self._blocks, file.name, file.size), 1 << 20)
        try:
            return parquet.ParquetFile(raw)
        except DataError:
            raise
        except Exception as error:  # pyarrow has errors of many kinds for damaged files
            raise self._damaged(number, error) from error

    def _damaged(self, number: int, error: Exception) -> DataError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        where = f"{self._blocks.folder.url}/{self._files[number].name}"
        return DataError(f"{where} cannot be read as parquet: {reason}")

    def _about(self, number: int) -> NDArray[np.int64]:
        """Rows of each row group of a file."""
        table = self._open(number)
        self._names(table, number)
        about = table.metadata
        groups = [about.row_group(group) for group in range(about.num_row_groups)]
        if any(group.total_byte_size > MAX_GROUP for group in groups):
            raise DataError(
                f"{self._blocks.folder.url}/{self._files[number].name}: a row group has more than"
                f" {MAX_GROUP >> 20} MiB",
                hint="write it with smaller row groups: `row_group_size` of pyarrow",
            )
        return np.array([group.num_rows for group in groups], dtype=np.int64)

    def _names(self, table: Any, number: int) -> ColumnNames:
        there = set(table.schema_arrow.names)
        images = IMAGES if self._image is None else (self._image,)
        image = next((name for name in images if name in there), None)
        if image is None:
            raise DataError(
                f"{self._blocks.folder.url}/{self._files[number].name} has no column of pictures"
                f" ({', '.join(images)}); its columns are {', '.join(sorted(there))[:200]}",
                hint="`image:` names it",
            )
        return ColumnNames(
            image,
            next((name for name in self._texts if name in there), None),
            next((name for name in KEYS if name in there), None),
        )

    def _load(self, place: tuple[int, bool]) -> list[dict[str, Any]]:
        """A row group's pictures, or its keys and texts."""
        group, texts = place
        shard = int(self._index["group_shard"][group])
        table = self._open(shard)
        names = self._names(table, shard)
        wanted = {"texts": names.texts, "key": names.key} if texts else {"image": names.image}
        columns = [name for name in wanted.values() if name is not None]
        try:
            read = table.read_row_group(
                int(self._index["group_number"][group]), columns=columns, use_threads=False
            )
        except DataError:
            raise
        except Exception as error:
            raise self._damaged(shard, error) from error
        values = {kind: read.column(name).to_pylist() for kind, name in wanted.items() if name}
        ends = self._index["group_ends"]
        rows = int(ends[group]) - (int(ends[group - 1]) if group else 0)
        return [{kind: column[i] for kind, column in values.items()} for i in range(rows)]


def _bytes_of(rows: list[dict[str, Any]]) -> int:
    total = 0
    for row in rows:
        for value in row.values():
            value = value.get("bytes") if isinstance(value, dict) else value
            total += len(value) if isinstance(value, (bytes, str, list)) else 8
    return total + 64 * len(rows)
