"""Tar shards as WebDataset reads them, each with a parquet table.

A shard holds ``<id>.jpg`` and ``<id>.json`` of each image in list order. The table tells where in
the tar each JPEG lies, so that a reader needs one seek. Same rows and pictures, same bytes. URLs
stand there without user names and passwords.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from engine.core.files import steps
from engine.data.download.outcome import without_password
from engine.data.download.state import SavedRow
from engine.errors import DataError

FOLDER = "shards"
_BLOCK = 512


def shard_paths(out: Path, number: int) -> tuple[Path, Path]:
    """The tar and the table of a shard."""
    name = out / FOLDER / f"{number:05d}"
    return name.with_suffix(".tar"), name.with_suffix(".parquet")


def key_of(id_: str) -> str:
    """An image's name within a tar: WebDataset ends the key at the first dot, so there is none."""
    return id_.replace("%", "%25").replace(".", "%2E")


def write_shard(
    out: Path, number: int, rows: Iterable[SavedRow], read: Callable[[SavedRow], bytes]
) -> int:
    """Write or replace a shard's tar and table; the table comes last.

    Args:
        out: folder of the download.
        number: of the shard, from 0.
        rows: the images in list order.
        read: gives the JPEG of a row.

    Returns:
        Number of images; of none, nothing is written.
    """
    tar, table = shard_paths(out, number)
    table_rows: list[tuple[SavedRow, int]] = []
    temporary = tar.with_name(tar.name + ".tmp")
    steps.write_synced(temporary, _tar(rows, read, table_rows))
    if not table_rows:
        for path in (temporary, tar, table):
            steps.remove(path)
        return 0
    steps.replace(temporary, tar)
    written = table.with_name(table.name + ".tmp")
    _write_table(written, table_rows)
    steps.replace(written, table)
    return len(table_rows)


def _tar(
    rows: Iterable[SavedRow],
    read: Callable[[SavedRow], bytes],
    table_rows: list[tuple[SavedRow, int]],
) -> Iterator[bytes]:
    at = 0
    for row in rows:
        about = {
            "id": row.id,
            "url": without_password(row.url),
            "queries": json.loads(row.queries),
            "width": row.width,
            "height": row.height,
        }
        key = key_of(row.id)
        for name, data in (
            (f"{key}.jpg", read(row)),
            (f"{key}.json", json.dumps(about, ensure_ascii=False).encode()),
        ):
            head = _header(name, len(data))
            if name.endswith(".jpg"):
                table_rows.append((row, at + len(head)))
            piece = head + data + bytes(-len(data) % _BLOCK)
            at += len(piece)
            yield piece
    if table_rows:
        yield bytes(2 * _BLOCK + -(at + 2 * _BLOCK) % tarfile.RECORDSIZE)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    # The same bytes where the plain format can tell it, and made in a third of the time.
    plain = name.isascii() and len(name) <= 100
    return info.tobuf(tarfile.USTAR_FORMAT if plain else tarfile.PAX_FORMAT, "utf-8", "strict")


def _write_table(path: Path, rows: list[tuple[SavedRow, int]]) -> None:
    import io

    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet  # type: ignore[import-untyped]

    columns: dict[str, tuple[Any, list[Any]]] = {
        "id": (pa.string(), [row.id for row, _ in rows]),
        "url": (pa.string(), [without_password(row.url) for row, _ in rows]),
        "queries": (pa.list_(pa.string()), [json.loads(row.queries) for row, _ in rows]),
        "width": (pa.int32(), [row.width for row, _ in rows]),
        "height": (pa.int32(), [row.height for row, _ in rows]),
        "bytes": (pa.int64(), [row.size for row, _ in rows]),
        "sha256": (pa.string(), [row.sha256.hex() for row, _ in rows]),
        "offset": (pa.int64(), [offset for _, offset in rows]),
    }
    table = pa.table({name: pa.array(values, kind) for name, (kind, values) in columns.items()})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    steps.write_synced(path, [buffer.getvalue()])


class ShardFile:
    """The JPEGs of a tar that lies there already, found by their names alone.

    The table beside it may be of another moment, where a run was cut off between the two.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] | None = None
        self._where: dict[str, tuple[int, int]] = {}
        if not path.exists():
            return
        self._file = path.open("rb")
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as tar:
                for member in tar:
                    self._where[member.name] = (member.offset_data, member.size)
        except tarfile.TarError as error:
            self._file.close()
            raise DataError(f"{path} is damaged: {error}") from error

    def read(self, row: SavedRow) -> bytes | None:
        """The row's JPEG, or ``None`` where the tar has none."""
        where = self._where.get(f"{key_of(row.id)}.jpg")
        if where is None or self._file is None:
            return None
        self._file.seek(where[0])
        return self._file.read(where[1])

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
