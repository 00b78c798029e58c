"""Where pictures lie: folders of any layout, and shards (tar files) within them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.core.regular_file import open_regular
from engine.data.pictures import MAX_BYTES
from engine.data.pictures.files import SUFFIXES, find_pictures
from engine.data.shards import read_members
from engine.errors import DataError


@dataclass(frozen=True)
class SourceItem:
    """A picture that was found and not yet read.

    Attributes:
        path: of its file, or of the tar that holds it.
        member: its name within the tar; empty for a file.
        start: where its bytes begin.
        size: how many there are.
        mtime: when the file was changed, nanoseconds since 1970.
        problem: why it cannot be read; else empty.
    """

    path: Path
    member: str = ""
    start: int = 0
    size: int = 0
    mtime: int = 0
    problem: str = ""


def find_items(folder: Path, unreadable: Callable[[Path, str], None]) -> Iterator[SourceItem]:
    """Every picture in a folder, in those below it and in their tar files, in order.

    The contest's layout, a click log and shards of WebDataset are such folders.

    Args:
        folder: where to look.
        unreadable: called with a folder that cannot be listed, and the reason.

    Raises:
        DataError: there is no such folder.
    """
    for path in find_pictures(folder, also=(".tar",), unreadable=unreadable):
        try:
            about = path.stat()
        except OSError as error:
            yield SourceItem(path, problem=error.strerror or str(error))
            continue
        if path.suffix.lower() == ".tar":
            yield from _members(path, about.st_mtime_ns)
        else:
            yield SourceItem(path, "", 0, about.st_size, about.st_mtime_ns)


def _members(path: Path, mtime: int) -> Iterator[SourceItem]:
    """The pictures of a tar; a name that comes twice is the first one."""
    seen: set[str] = set()
    try:
        for member in read_members(path):
            ending = os.path.splitext(member.name)[1].lower()  # noqa: PTH122 (a name, not a path)
            if ending in SUFFIXES and member.name not in seen:
                seen.add(member.name)
                yield SourceItem(path, member.name, member.offset, member.size, mtime)
    except DataError as error:
        yield SourceItem(path, mtime=mtime, problem=error.message)


def read_item(path: Path, start: int, size: int, member: str = "") -> bytes:
    """The bytes of a picture.

    Raises:
        OSError: it is gone, is not a file, is too large, or shorter than it was.
    """
    with open_regular(path) as file:
        if not member:
            size = os.fstat(file.fileno()).st_size
        if size > MAX_BYTES:
            raise OSError(f"the file has more than {MAX_BYTES >> 20} MiB")
        file.seek(start)
        data = file.read(size)
    if len(data) < size:
        raise OSError("it is shorter than it was a moment ago")
    return data
