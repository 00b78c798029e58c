"""The headers of a parquet column's pages: what reading it would take, known before it is read.

The sizes in a file's footer are what its writer claims, and decoders take memory by the sizes that
stand before each page. So those are read here first; a page costs some bytes of header.

Source: Apache Parquet's parquet.thrift; Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_MAX_HEADER = 1 << 16
_MAX_PAGES = 1_000_000
_DEEPEST = 6

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY = 0, 2, 8
_INT64 = 5
"""DELTA_BINARY_PACKED: of integers, it makes no more of a page than it has values."""


class BadPageError(Exception):
    """A page that is damaged, or would take more than it may."""


@dataclass(frozen=True)
class _Page:
    values: int
    known: int
    unpacked: int


def check_pages(
    file: BinaryIO, start: int, size: int, values: int, maximum: int, *, numbers: bool
) -> None:
    """Look at the pages of one column chunk.

    Args:
        file: open.
        start: of the first page, in bytes.
        size: of all pages with their headers.
        values: how many there must be.
        maximum: bytes that all pages may take once unpacked.
        numbers: the column holds integers (and not texts).

    Raises:
        BadPageError: damaged, of an encoding by which a few bytes become many, or too large.
    """
    seen = total = 0
    for page in _pages(file, start, size, numbers):
        if page.known > values:
            raise BadPageError("a dictionary has more values than there are rows")
        seen += page.values
        total += page.unpacked
        if total > maximum:
            raise BadPageError(f"it would take more than {maximum:,} bytes")
        if seen >= values:
            break
    if seen != values:
        raise BadPageError(f"it has {seen:,} values instead of {values:,}")


def _pages(file: BinaryIO, start: int, size: int, numbers: bool) -> Iterator[_Page]:
    at, end = start, start + size
    for _ in range(_MAX_PAGES):
        if at >= end:
            return
        file.seek(at)
        fields, length = _read_struct(file.read(min(_MAX_HEADER, end - at)))
        kind, unpacked, packed = (_count(fields, field) for field in (1, 2, 3))
        at += length + packed
        if at > end:
            raise BadPageError("a page is longer than its column")
        about = fields.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 0))
        if not isinstance(about, dict):
            raise BadPageError("a page is of an unknown kind")
        values, encoding = _count(about, 1), about.get(4 if kind == _DATA_V2 else 2)
        known = {_PLAIN, _PLAIN_DICTIONARY, _RLE_DICTIONARY, *((_INT64,) if numbers else ())}
        if encoding not in known:
            raise BadPageError("a page has an encoding that no download writes")
        if kind == _DICTIONARY:
            if values * 4 > unpacked:
                raise BadPageError("a dictionary has more values than bytes for them")
            yield _Page(0, values, unpacked)
        else:
            yield _Page(values, 0, unpacked)
    raise BadPageError(f"it has more than {_MAX_PAGES:,} pages")


def _count(fields: dict[int, Any], field: int) -> int:
    value = fields.get(field)
    if not isinstance(value, int) or value < 0:
        raise BadPageError("the header of a page is damaged")
    return value


def _read_struct(data: bytes) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol: numbers and structs by field, and its length."""
    reader = _Reader(data)
    try:
        return reader.struct(0), reader.at
    except IndexError:
        raise BadPageError("the header of a page is damaged or too long") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise IndexError

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise IndexError
        found: dict[int, Any] = {}
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else self.zigzag()
            kind = head & 15
            # A field's truth value stands in its kind.
            found[field] = kind == 1 if kind in (1, 2) else self.value(kind, depth)
        return found

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            return self.skip(8)
        if kind == 8:
            return self.skip(self.varint())
        if kind in (9, 10):
            head = self.byte()
            count = head >> 4 if head >> 4 != 15 else self.varint()
            for _ in range(count):
                self.value(head & 15, depth + 1)
            return None
        if kind == 12:
            return self.struct(depth + 1)
        raise IndexError  # a map, or nothing known: no header has one

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise IndexError
