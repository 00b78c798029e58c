"""The files that settings name, as a digest of their names, sizes and times of change.

Reading five million images to see whether a result can be used again would cost more than the
result. Every file counts, however many there are; they are taken as they come, and neither their
names nor their order are kept in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from engine.contracts.settings import PluginRef, Settings
from engine.core.sources import local_path
from engine.errors import WeightsError

_EVERY = 10_000
_SCHEMES = ("file:", "artifact:", "package:")
_DIGEST = 32


def files_digest(settings: object, counted: Callable[[int], None] = lambda files: None) -> str:
    """Digest of the files at and below every path that settings name, hexadecimal.

    Args:
        settings: paths, sources such as ``file:weights.pt``, and whatever holds such.
        counted: receives how many files were looked at, every 10,000.
    """
    digest, count = hashlib.sha256(), 0
    for path in _paths(settings):
        total = 0
        for line in file_lines(path):
            # A sum does not depend on the order in which a folder gives its files.
            total += int.from_bytes(hashlib.sha256(line).digest(), "big")
            count += 1
            if count % _EVERY == 0:
                counted(count)
        digest.update((total % (1 << 8 * _DIGEST)).to_bytes(_DIGEST, "big"))
    digest.update(count.to_bytes(8, "big"))
    return digest.hexdigest()


def file_lines(path: Path) -> Iterator[bytes]:
    """A line for each file at or below a path: its name within it, size, time of change."""
    try:
        stat = path.stat()
        if not path.is_dir():
            yield _line(b"", stat)
            return
    except (OSError, ValueError) as error:
        yield _line(b"", error)
        return
    open_folders: list[_Folder] = []
    entered = _enter(os.fspath(path), b"", open_folders)
    try:
        while True:
            if isinstance(entered, bytes):
                yield entered
            if not open_folders:
                return
            name, _, entries = open_folders[-1]
            entered = _next(name, entries, open_folders)
    finally:
        for _, _, entries in open_folders:
            entries.close()


_Folder = tuple[bytes, tuple[int, int], "os._ScandirIterator[str]"]
"""A folder that is being read: its name, what it is to the system, the rest of its entries."""


def _enter(folder: str, name: bytes, above: list[_Folder]) -> bytes | None:
    """Begin to read a folder, not one that is linked to within itself; a line where it cannot."""
    try:
        stat = Path(folder).stat()
        inside = (stat.st_dev, stat.st_ino)
        if any(inside == identity for _, identity, _ in above):
            return name + b" is above itself"
        above.append((name, inside, os.scandir(folder)))
    except OSError as error:
        return _line(name, error)
    return None


def _next(
    folder: bytes, entries: os._ScandirIterator[str], above: list[_Folder]
) -> bytes | None:  # fmt: skip
    """The line of the folder's next entry; ``None``: another folder is entered, or this is over."""
    try:
        entry = next(entries, None)
    except OSError as error:
        entries.close()
        above.pop()
        return _line(folder, error)
    if entry is None:
        entries.close()
        above.pop()
        return None
    name = folder + b"/" + os.fsencode(entry.name)
    try:
        if entry.is_dir():
            return _enter(entry.path, name, above)
        return _line(name, entry.stat())
    except OSError as error:  # a link to nowhere, for example
        return _line(name, error)


def _line(name: bytes, found: os.stat_result | Exception) -> bytes:
    if isinstance(found, Exception):
        return name + f" {type(found).__name__}".encode()
    return name + f" {found.st_size} {found.st_mtime_ns}".encode()


def _local(source: str) -> Path:
    """The path of a source; where its package is not installed, one that does not exist."""
    try:
        path = local_path(source)
    except WeightsError:
        path = None
    return Path(os.path.expanduser(path or source))  # noqa: PTH111 - a user who is nobody stays


def values_of(settings: object) -> Iterator[object]:
    """All that settings hold, those of the plugins that they choose too: every value and part."""
    yield settings
    parts: Iterable[object] = ()
    if isinstance(settings, PluginRef):
        parts = (settings.settings,)
    elif isinstance(settings, Settings):
        parts = (getattr(settings, name) for name in type(settings).model_fields)
    elif isinstance(settings, Mapping):
        parts = settings.values()
    elif isinstance(settings, (list, tuple, set, frozenset)):
        parts = settings
    for part in parts:
        yield from values_of(part)


def _paths(settings: object) -> Iterator[Path]:
    for value in values_of(settings):
        if isinstance(value, Path):
            yield value
        elif isinstance(value, str):
            for scheme in _SCHEMES:
                if value.startswith(scheme) and len(value) > len(scheme):
                    yield _local(value)
