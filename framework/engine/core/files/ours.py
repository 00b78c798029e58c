"""What in a folder is ours: only what our own list names may be replaced or removed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from engine.errors import EngineError

_SHOWN = 5


def foreign(folder: Path, listed: Collection[str], maximum: int = _SHOWN + 1) -> list[str]:
    """What lies in a folder and is not ours, as paths relative to it. Follows no links.

    Args:
        folder: an existing folder.
        listed: our files, as relative paths with ``/``. A link, a device or a folder of a listed
            name is not ours.
        maximum: stop after so many.
    """
    above = {name[:end] for name in listed for end in _slashes(name)}
    names = set(listed)
    found = []
    for name, mode in _walk(folder, "", above):
        if name in names and stat.S_ISREG(mode):
            continue
        found.append(name + ("/" if stat.S_ISDIR(mode) else ""))
        if len(found) == maximum:
            break
    return found


def _slashes(name: str) -> list[int]:
    return [place for place, letter in enumerate(name) if letter == "/"]


def _walk(folder: Path, prefix: str, above: Collection[str]) -> Iterator[tuple[str, int]]:
    """Everything below a folder but the folders that hold files of ours, with its mode."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        name = prefix + entry.name
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and name in above:
            yield from _walk(folder / entry.name, name + "/", above)
        else:
            yield name, mode


def refuse_foreign(
    folder: Path, listed: Collection[str], what: str, error: type[EngineError]
) -> None:
    """Refuse to replace a folder that holds something that is not ours, naming it.

    Args:
        folder: an existing folder.
        listed: see :func:`foreign`.
        what: who would have written it, for the message: ``the artifact``.
        error: type of the error.

    Raises:
        EngineError: of that type.
    """
    others = foreign(folder, listed)
    if not others:
        return
    shown = ", ".join(repr(name) if not name.isprintable() else name for name in others[:_SHOWN])
    more = " and more" if len(others) > _SHOWN else ""
    raise error(
        f"{folder} also holds {shown}{more}, which is not part of {what}, so nothing there is"
        " replaced",
        hint="move that elsewhere, or choose another folder with `-o`",
    )
