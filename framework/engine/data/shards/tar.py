"""The members of a tar, header by header: plain files with plain names, and nothing else.

Source: POSIX.1-2017, pax: ustar and pax interchange formats; GNU tar for its long names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.core.regular_file import open_regular
from engine.errors import DataError

MAX_MEMBERS = 10_000_000
MAX_MEMBER = 1 << 29
"""Bytes of a member: no picture has more."""
_MAX_NAME = 1 << 16
"""Bytes of a header that only brings a longer name."""

_BLOCK = 512
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device",
    b"5": "a folder", b"6": "a pipe", b"S": "a sparse file", b"g": "a global header",
}  # fmt: skip
_RECORD = re.compile(rb"(\d{1,5}) ([^=\n]{1,200})=")


@dataclass(frozen=True)
class Member:
    """A file in a tar.

    Attributes:
        name: without any folder.
        offset: where its bytes begin in the tar.
        size: how many there are.
    """

    name: str
    offset: int
    size: int


class BadTarError(Exception):
    """Not a tar, or one that is refused; says why."""


def read_members(path: Path) -> Iterator[Member]:
    """The members of a tar in order. Only headers are read; memory does not grow.

    A name that comes twice is for the caller to see.

    Raises:
        DataError: not a tar, cut off, or it holds something else than plain files.
    """
    try:
        with open_regular(path) as file:
            yield from members_of(file, os.fstat(file.fileno()).st_size)
    except (BadTarError, OSError) as error:
        raise DataError(f"{path} cannot be read as a shard: {error}") from error


def members_of(file: BinaryIO, end: int, *, strict: bool = True) -> Iterator[Member]:
    """The members of an open tar in order.

    Args:
        file: where one can seek.
        end: its size in bytes.
        strict: refuse what is not a plain file with a plain name. Otherwise links, folders and
            global headers are passed over, and names keep their folders.

    Raises:
        BadTarError: not a tar, cut off, or (strict) it holds something else than plain files.
    """
    at, longer = 0, None
    for count in range(MAX_MEMBERS + 1):
        file.seek(at)
        head = file.read(_BLOCK)
        if len(head) < _BLOCK:
            raise BadTarError(f"it is cut off after {count:,} members")
        if head.count(0) == _BLOCK:
            return
        where = f"the header at byte {at:,}"
        _check_sum(head, where)
        size, kind = _size(head[124:136], where), head[156:157]
        start = at + _BLOCK
        at = start + -(-size // _BLOCK) * _BLOCK
        if start + size > end:
            raise BadTarError(f"{where} tells of {size:,} bytes, of which some are missing")
        if kind in (b"x", b"L"):
            if size > _MAX_NAME or longer is not None:
                raise BadTarError(f"{where} brings too long a name")
            body = file.read(size)
            longer = _pax_path(body, where) if kind == b"x" else body.rstrip(b"\0")
            continue
        if kind not in (b"0", b"\0"):
            if not strict and kind in _KINDS:
                longer = None
                continue
            raise BadTarError(f"{where} is of {_KINDS.get(kind, 'an unknown kind')}, not a file")
        if size > MAX_MEMBER:
            raise BadTarError(f"{where} tells of {size:,} bytes, too many for a picture")
        name = _name(head, longer, where) if strict else _any_name(head, longer, where)
        yield Member(name, start, size)
        longer = None
    raise BadTarError(f"it has more than {MAX_MEMBERS:,} members")


def _check_sum(head: bytes, where: str) -> None:
    """The sum of a header's bytes stands in it, with blanks in its own place."""
    total = sum(head) - sum(head[148:156]) + 8 * ord(" ")
    if _octal(head[148:156]) != total:
        raise BadTarError(f"{where} is damaged, or this is not a tar")


def _octal(field: bytes) -> int | None:
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _size(field: bytes, where: str) -> int:
    size = _octal(field)  # the binary form is for members of over 8 GB
    if size is None:
        raise BadTarError(f"{where} has no size, or one of gigabytes")
    return size


def _pax_path(body: bytes, where: str) -> bytes:
    """The name in a pax header; a header that changes the size or the kind is refused."""
    at, found = 0, b""
    while at < len(body):
        record = _RECORD.match(body, at)
        length = int(record[1]) if record else 0
        if (
            record is None
            or length <= record.end() - at
            or body[at + length - 1 : at + length] != b"\n"
        ):
            raise BadTarError(f"{where} is a damaged pax header")
        key = record[2]
        if key == b"path":
            found = body[record.end() : at + length - 1]
        elif key in (b"size", b"linkpath") or key.startswith(b"GNU.sparse"):
            raise BadTarError(f"{where} is a pax header with `{key.decode('ascii', 'replace')}`")
        at += length
    return found


def _any_name(head: bytes, longer: bytes | None, where: str) -> str:
    """A member's name with its folders: it names no file of this machine, so it may be anything."""
    raw = longer or head[:100].rstrip(b"\0")
    if not longer and head[257:262] == b"ustar" and head[345:500].strip(b"\0"):
        raw = head[345:500].rstrip(b"\0") + b"/" + raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadTarError(f"{where} has a name that is not UTF-8") from None


def _name(head: bytes, longer: bytes | None, where: str) -> str:
    raw = longer or head[:100].rstrip(b"\0")
    if not longer and head[257:262] == b"ustar" and head[345:500].strip(b"\0"):
        raise BadTarError(f"{where} names a file in a folder")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BadTarError(f"{where} has a name that is not UTF-8") from None
    if name in ("", ".", "..") or any(letter in "/\\" or ord(letter) < 32 for letter in name):
        raise BadTarError(f"{where} has the name {name[:60]!a}, not a plain file name")
    return name
