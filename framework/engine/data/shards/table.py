"""A shard's parquet table: which image lies where in the tar."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.core.regular_file import open_regular
from engine.data.shards.pages import BadPageError, check_pages
from engine.data.shards.tar import MAX_MEMBER
from engine.errors import DataError

MAX_ROWS = 5_000_000
"""Images of a shard."""
MAX_ID = 1024
"""Bytes of an image's id (of 200 characters at most)."""
_MAX_TABLE = 1 << 32
_MAX_FOOTER = 1 << 24
_MAX_GROUPS = 10_000
_MAX_COLUMNS = 1000
_SPARE = 1 << 16
_MAX_COLUMN = 1 << 28
"""Bytes of a column in a row group: 50 for each of the most rows there may be."""

_TEXTS, _NUMBERS = ("id", "sha256"), ("offset", "bytes")


@dataclass(frozen=True)
class TableRows:
    """Some rows of a table, in order.

    Attributes:
        ids: of the images.
        offsets: int64, where each JPEG begins in the tar.
        sizes: int64, how many bytes it has.
        digests: its SHA-256; empty where they were not asked for.
    """

    ids: list[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    digests: list[bytes]


class _BadTableError(Exception):
    pass


def read_table(path: Path, *, digests: bool) -> Iterator[TableRows]:
    """The rows of a table, a row group at a time.

    Args:
        path: of the ``.parquet``.
        digests: read the column ``sha256`` too.

    Raises:
        DataError: not a table of a shard, damaged, or too large; says what and where.
    """
    try:
        with open_regular(path) as file:
            yield from _read(file, ("id", "offset", "bytes", *(("sha256",) if digests else ())))
    except (_BadTableError, BadPageError) as error:
        raise DataError(f"{path} cannot be read as a shard's table: {error}") from error
    except Exception as error:  # pyarrow has errors of many kinds for damaged files
        message = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path} cannot be read as a shard's table: {message}") from error


def _read(file: BinaryIO, names: tuple[str, ...]) -> Iterator[TableRows]:
    from pyarrow import parquet  # type: ignore[import-untyped]

    size = os.fstat(file.fileno()).st_size
    _check_footer(file, size)
    file.seek(0)
    limits = {
        "thrift_string_size_limit": _MAX_FOOTER,
        "thrift_container_size_limit": _MAX_COLUMNS * 16,
        "page_checksum_verification": True,
    }
    table = parquet.ParquetFile(file, **limits)
    _check_shape(table, names)
    # By their dictionary: one text for a million rows stays one text.
    texts = [name for name in names if name in _TEXTS]
    table = parquet.ParquetFile(file, metadata=table.metadata, read_dictionary=texts, **limits)
    first = 0
    for group in range(table.metadata.num_row_groups):
        about = table.metadata.row_group(group)
        if first + about.num_rows > MAX_ROWS:
            raise _BadTableError(f"its row groups have over {MAX_ROWS:,} rows")
        if about.num_rows == 0:
            continue
        _check_columns(file, size, about, names)
        read = table.read_row_group(group, columns=list(names), use_threads=False)
        if read.num_rows != about.num_rows:
            raise _BadTableError(f"it has {read.num_rows:,} rows instead of {about.num_rows:,}")
        yield _rows(read, names, first)
        first += read.num_rows


def _check_footer(file: BinaryIO, size: int) -> None:
    if size < 12:
        raise _BadTableError("it is empty or cut off")
    if size > _MAX_TABLE:
        raise _BadTableError(f"it has {size:,} bytes, too many for a table")
    file.seek(size - 8)
    length, mark = struct.unpack("<I4s", file.read(8))
    if mark != b"PAR1":
        raise _BadTableError("it is cut off, or not a parquet file")
    if length > min(_MAX_FOOTER, size - 12):
        raise _BadTableError("its footer is damaged or too large")


def _check_shape(table: Any, names: tuple[str, ...]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]

    about, schema = table.metadata, table.schema_arrow
    if not 0 <= about.num_rows <= MAX_ROWS:
        raise _BadTableError(f"it has {about.num_rows:,} rows; a shard has {MAX_ROWS:,} at most")
    if about.num_row_groups > _MAX_GROUPS or about.num_columns > _MAX_COLUMNS:
        raise _BadTableError("it has too many row groups or columns")
    for name in names:
        places = schema.get_all_field_indices(name)
        if len(places) != 1:
            raise _BadTableError(f"it has {len(places)} columns `{name}`")
        kind = schema.field(places[0]).type
        base = kind.value_type if pa.types.is_dictionary(kind) else kind
        text = pa.types.is_string(base) or pa.types.is_large_string(base)
        if not (text if name in _TEXTS else pa.types.is_integer(kind)):
            wanted = "texts" if name in _TEXTS else "whole numbers"
            raise _BadTableError(f"its column `{name}` is of {kind}, not of {wanted}")


def _check_columns(file: BinaryIO, size: int, group: Any, names: tuple[str, ...]) -> None:
    rows = group.num_rows
    if not 0 <= rows <= MAX_ROWS:
        raise _BadTableError(f"a row group has {rows:,} rows")
    for place in range(group.num_columns):
        column = group.column(place)
        name = column.path_in_schema
        if name not in names:
            continue
        numbers = name in _NUMBERS
        if (column.physical_type != "BYTE_ARRAY") != numbers:
            raise _BadTableError(f"its column `{name}` is of {column.physical_type}")
        start, length = column.data_page_offset, column.total_compressed_size
        other = column.dictionary_page_offset
        if other is not None and 0 < other < start:
            start = other
        if start < 4 or length < 0 or start + length > size:
            raise _BadTableError(f"its column `{name}` lies outside of the file")
        maximum = min(rows * (32 if numbers else MAX_ID + 4) + _SPARE, _MAX_COLUMN)
        try:
            check_pages(file, start, length, rows, maximum, numbers=numbers)
        except BadPageError as error:
            raise _BadTableError(f"its column `{name}`: {error}") from error


def _rows(read: Any, names: tuple[str, ...], first: int) -> TableRows:
    read.validate(full=True)
    for name in names:
        if read.column(name).null_count:
            raise _BadTableError(f"its column `{name}` has rows without a value")
    ids = _texts(read.column("id"), MAX_ID, "id")
    offsets = _numbers(read.column("offset"), 1 << 60, "offset", first)
    sizes = _numbers(read.column("bytes"), MAX_MEMBER, "bytes", first)
    if any(not id_ for id_ in ids):
        raise _BadTableError(f"row {first + ids.index('')} has an empty id")
    digests = _digests(read.column("sha256"), first) if "sha256" in names else []
    return TableRows(ids, offsets, sizes, digests)


def _texts(column: Any, maximum: int, name: str) -> list[str]:
    """Texts of a column that was read by its dictionary, whose values are looked at first."""
    from pyarrow import compute  # type: ignore[import-untyped]

    found: list[str] = []
    for chunk in column.chunks:
        longest = compute.max(compute.binary_length(chunk.dictionary)).as_py() or 0
        if longest > maximum:
            raise _BadTableError(f"its column `{name}` has a text of {longest:,} bytes")
        values = chunk.dictionary.to_pylist()
        found += [values[place] for place in chunk.indices.to_pylist()]
    return found


def _numbers(column: Any, maximum: int, name: str, first: int) -> NDArray[np.int64]:
    import pyarrow as pa  # type: ignore[import-untyped]

    found: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    wrong = np.flatnonzero((found < 0) | (found > maximum))
    if len(wrong):
        row = int(wrong[0])
        raise _BadTableError(f"row {first + row} has `{name}` {int(found[row])}")
    return found


def _digests(column: Any, first: int) -> list[bytes]:
    found: list[bytes] = []
    for text in _texts(column, 64, "sha256"):
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise _BadTableError(f"row {first + len(found)} has no SHA-256 of 64 digits")
        found.append(digest)
    return found
