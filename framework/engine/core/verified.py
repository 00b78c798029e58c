"""What is known of files that were read whole before, so that they need not be read again.

An artifact's digests are compared, and its numbers looked at, when a file is new here. Both are
remembered in the user's cache, outside of the artifact, for the file's exact state: device, inode,
bytes, and the times at which its content and its entry last changed, in nanoseconds. A file that
was written to, replaced or copied has another state and is read whole. A state so young that a
further change could fall into the same tick of the file system's clock is not remembered. This
finds damage; like every digest that lies beside its file, it is not a signature.

``ENGINE_VERIFY=always`` reads everything every time, and remembers nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG
from typing import Any

from engine.core.files import replacing

SMALLEST = 1 << 20
"""Files of fewer bytes are not remembered: reading them takes no time."""

_KEPT = 500
"""Records; of more, the oldest are removed."""

_LARGEST = 4096  # bytes of a record
_COARSE = 2.0  # seconds: the coarsest clock of a file system in use
_FINE = 0.05  # the tick of a kernel, where the times are finer than a millisecond

State = tuple[int, ...]
"""Device, inode, bytes, time of the content and of the entry in nanoseconds."""


def state_of(path: Path) -> State | None:
    """The state of a file; ``None`` where it is not a regular file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    if not S_ISREG(stat.st_mode):
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def is_known(path: Path, facts: Iterable[str]) -> bool:
    """Whether all facts were found of the file in exactly its present state."""
    state = state_of(path)
    if state is None or _always():
        return False
    record = _read(_record_of(state))
    return record.get("state") == list(state) and set(facts) <= set(record.get("facts", ()))


def remember(path: Path, state: State | None, facts: Iterable[str]) -> bool:
    """Remember what was found of a file; nothing happens where that is not safe or not possible.

    Args:
        path: the file.
        state: its :func:`state_of` before it was read. It must be its state still.
        facts: what was found.

    Returns:
        Whether it is remembered.
    """
    if state is None or state[2] < SMALLEST or _always():
        return False
    if state != state_of(path) or left(state) > 0:
        return False
    target = _record_of(state)
    before = _read(target)
    known = before.get("facts", []) if before.get("state") == list(state) else []
    record = {"state": list(state), "facts": sorted({*known, *facts})}
    with contextlib.suppress(Exception):  # no home folder, no space, no permission: no memory
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            file.write(json.dumps(record).encode())
        _prune(target.parent)
        return True
    return False


def left(state: State) -> float:
    """Seconds until a file's state is old enough that any later change would show in it."""
    newest = max(state[3:]) / 1e9
    tick = _FINE if state[4] % 1_000_000 else _COARSE
    return tick - (time.time() - newest)


def remember_written(path: Path, state: State | None, facts: Iterable[str]) -> bool:
    """:func:`remember` of a file that this process wrote and that has taken its place since.

    That changed its entry (its permissions) and nothing else. Its state must become older than a
    tick first, which is waited for where it is a moment.
    """
    now = state_of(path)
    if state is None or now is None or now[:4] != state[:4] or _always():
        return False
    if now[2] >= SMALLEST and 0 < (wait := left(now)) <= _FINE:
        time.sleep(wait)
    return remember(path, now, facts)


def _always() -> bool:
    return os.environ.get("ENGINE_VERIFY") == "always"


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "engine" / "verified"


def _record_of(state: State) -> Path:
    name = hashlib.sha256(f"{state[0]}:{state[1]}".encode()).hexdigest()[:32]
    with contextlib.suppress(RuntimeError):  # a user without a home folder
        return _folder() / f"{name}.json"
    return Path(os.devnull)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_LARGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and isinstance(found.get("facts"), list)
    return found if whole and all(isinstance(one, str) for one in found["facts"]) else {}


def _prune(folder: Path) -> None:
    records = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in records[:-_KEPT]:
        path.unlink(missing_ok=True)
