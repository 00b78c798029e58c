"""A disk that takes no more: recognised in the errors of every library, reported in one line."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EngineError, WriteError

_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_TEXTS = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|Read-only file system"
    r"|database or disk is full|os error (?:27|28|30|122)\b"
)
"""What libraries write that have errors of their own (safetensors, SQLite, LMDB, Arrow)."""


def disk_trouble(error: BaseException) -> str | None:
    """What a disk refused, in words; ``None`` where the error is about something else."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen and not isinstance(found, EngineError):
        seen.add(id(found))
        if isinstance(found, OSError) and found.errno in _NUMBERS:
            return found.strerror or str(found)
        text = _TEXTS.search(str(found))
        if text is not None:
            return str(found).splitlines()[0][:200]
        found = found.__cause__ or found.__context__
    return None


@contextlib.contextmanager
def explained(target: Path | str, hint: str | None = None) -> Iterator[None]:
    """Turn what a full disk does to a library into an error that names what was being written.

    Raises:
        WriteError: the disk is full, a quota or a limit on sizes is reached, or it is read-only.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        trouble = disk_trouble(error)
        if trouble is None:
            raise
        raise WriteError(
            f"{target} cannot be written: {trouble}",
            hint=hint
            or "make room on the disk (or choose another place with `-o`) and give the"
            " same command again; what was there before is untouched",
        ) from error
