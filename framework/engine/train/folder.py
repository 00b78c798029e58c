"""A run's folder: who may write there, how a new run takes it, what a crash can leave.

::

    RUN/.lock       held by the process that trains
    RUN/.starting   a new run being written; left over where its process is gone
    RUN/.started    a new run that is whole: it takes the folder, also after a crash in between

A new run is written to ``.starting``, renamed to ``.started`` in one step, and moved from there
into the folder. Where an old run is replaced that happens at the first checkpoint of the new one,
so that a mistake or an early end costs nothing. Whatever a crash leaves, the next command puts in
order: it removes ``.starting``, and finishes moving ``.started``.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from engine.contracts.training import Logger, RunInfo
from engine.contracts.training_settings import LoggerSettings
from engine.core import artifact
from engine.core.files import foreign, locked, recover, target_of
from engine.core.files import steps as lasting
from engine.errors import TrainingError
from engine.train.names import (
    CACHE,
    CHECKPOINTS,
    CONFIG,
    HISTORY,
    LOCK,
    MODEL,
    START,
    STARTED,
    STARTING,
)

_OURS = (START, MODEL, CHECKPOINTS, HISTORY, CONFIG)
"""In the order in which they are moved: the config comes last."""

_CHECKPOINT = re.compile(
    r"(step-[0-9]{8,}/((state\.json|tensors\.safetensors|model/|model-onnx/)?)|\.step-.*)"
)
_WAIT = 1.0
"""Seconds: a killed process may need a moment until it is gone."""


def is_run(folder: Path) -> bool:
    """Whether a run lies in a folder, finished or not."""
    if (folder / STARTED).is_dir():
        return True
    signs = (HISTORY, f"{START}/{artifact.MANIFEST}", f"{MODEL}/{artifact.MANIFEST}", CHECKPOINTS)
    return (folder / CONFIG).is_file() and any((folder / sign).exists() for sign in signs)


def is_free(folder: Path) -> bool:
    """Whether a new run may begin: no folder, an empty one, or what a kill left of a start."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {LOCK, STARTING}


def check_folder(folder: Path, *, resume: bool, force: bool) -> None:
    """Whether a run may be written there.

    Raises:
        TrainingError: there is a run already (``resume`` goes on with it, ``force`` replaces it),
            or something else; or there is none to go on with; or files of somebody else lie where
            something would be replaced.
    """
    run = is_run(folder)
    if resume and not run:
        raise TrainingError(
            f"{folder} is not a run to go on with"
            + (f": it has no {CONFIG}" if is_free(folder) else ", and holds something else"),
            hint="without `--resume` one is started there"
            if is_free(folder)
            else "name the folder of a run with `-o`",
        )
    if not run and not is_free(folder):
        raise TrainingError(
            f"{folder} exists and is not a run, so nothing is written there",
            hint="choose another folder with `-o`",
        )
    if run and not (resume or force):
        raise TrainingError(
            f"{folder} holds a run already",
            hint="`--resume` goes on with it, `--force` replaces it",
        )
    if run:
        _check_ours(folder, force=force)


def _check_ours(folder: Path, *, force: bool) -> None:
    """What will be replaced holds nothing of the user's."""
    for name in (START, MODEL) if force else (MODEL,):
        artifact.check_replaceable(folder / name)
    if force and (folder / CHECKPOINTS).is_dir():
        found = foreign(folder / CHECKPOINTS, (), maximum=1_000_000)
        found += [
            f"{name}{inner}"
            for name in found
            if _CHECKPOINT.fullmatch(name) and name.endswith("/") and not name.startswith(".")
            for inner in foreign(folder / CHECKPOINTS / name, ())
        ]
        others = [name for name in found if not _CHECKPOINT.fullmatch(name)]
        if others:
            raise TrainingError(
                f"{folder / CHECKPOINTS} also holds {', '.join(others[:5])}, which no training"
                " wrote, so the run is not replaced",
                hint="move that elsewhere, or choose another folder with `-o`",
            )


class RunFolder:
    """The folder of a run, held by this process.

    Args:
        folder: the run's.
        replaces: an old run lies there, which the new one is to replace.

    Attributes:
        place: where the run's files are at this moment: in the folder itself, or in ``.starting``.
        fresh: nothing of a new run was written yet.
    """

    def __init__(self, folder: Path, *, replaces: bool) -> None:
        self.folder, self.replaces = folder, replaces
        self.place = folder
        self.fresh = True
        self._then: list[Callable[[], None]] = []

    def stage(self) -> Path:
        """Begin a new run beside whatever is there; gives the place to write it."""
        self.fresh, self.place = False, self.folder / STARTING
        if self.replaces and not (self.folder / CACHE).is_symlink():
            lasting.remove_tree(self.folder / CACHE)  # it costs time alone, and takes room
        lasting.remove_tree(self.place)
        (self.place / CHECKPOINTS).mkdir(parents=True)
        (self.place / HISTORY).touch()
        return self.place

    @property
    def staged(self) -> bool:
        """Whether the new run has not taken the folder yet."""
        return self.place != self.folder

    def take(self) -> None:
        """Let the new run take the folder, in place of an old one."""
        if not self.staged:
            return
        lasting.sync_folder(self.place)
        lasting.replace(self.place, self.folder / STARTED)
        settle(self.folder)
        self.place = self.folder
        for act in self._then:
            act()
        self._then.clear()

    def afterwards(self, act: Callable[[], None]) -> None:
        """Do something once the run has taken the folder."""
        self._then.append(act)

    def waiting(self, logger: Logger) -> Logger:
        """A logger that gets nothing before the run owns the folder, and then everything."""
        if not self.replaces:
            return logger
        found = _Waiting(logger)
        self.afterwards(found.go_on)
        return found


@contextlib.contextmanager
def holding(folder: Path, *, resume: bool, force: bool) -> Iterator[RunFolder]:
    """Hold a run's folder: one process at a time, what a crash left put in order.

    Raises:
        TrainingError: another process trains there; or see :func:`check_folder`.
    """
    check_folder(folder, resume=resume, force=force)
    folder = target_of(folder)
    made = _make(folder)
    try:
        with locked(
            folder / LOCK,
            f"the run {folder} is in use by another process",
            wait=_WAIT,
            error=TrainingError,
            hint="wait for it or stop it (SIGTERM saves a checkpoint first), or choose another"
            " folder with `-o`",
        ):
            settle(folder)
            check_folder(folder, resume=resume, force=force)
            try:
                yield RunFolder(folder, replaces=is_run(folder) and not resume)
            finally:
                lasting.remove_tree(folder / STARTING)
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _make(folder: Path) -> bool:
    if folder.is_dir():
        return False
    folder.mkdir(parents=True)
    return True


def settle(folder: Path) -> None:
    """Put in order what a crash left. The lock is held."""
    for name in (START, MODEL):
        recover(folder / name)
    started = folder / STARTED
    if started.is_dir():
        whole = (started / CONFIG).exists()  # not moved yet, so the old run may still be there
        for name in _OURS:
            if os.path.lexists(started / name):
                _remove(folder / name)
                lasting.move(started / name, folder / name)
            elif whole and name == MODEL:
                _remove(folder / name)
        lasting.sync_folder(folder)
        lasting.remove_tree(started)
    if os.path.lexists(folder / STARTING):
        lasting.remove_tree(folder / STARTING)


def _remove(path: Path) -> None:
    """Remove something of an old run; of a link, the link."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        lasting.remove_tree(path)
    else:
        lasting.remove(path)


class _Waiting(Logger):
    """Keeps what is for a logger until the logger may have it."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(LoggerSettings())
        self._logger = logger
        self._kept: list[Callable[[], None]] = []
        self._on = False

    def _tell(self, act: Callable[[], None]) -> None:
        if self._on:
            act()
        else:
            self._kept.append(act)

    def go_on(self) -> None:
        """Tell everything that was kept, and from now on at once."""
        self._on = True
        for act in self._kept:
            act()
        self._kept.clear()

    def start(self, run: RunInfo) -> None:
        """See the contract."""
        self._tell(lambda: self._logger.start(run))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See the contract."""
        kept = dict(values)
        self._tell(lambda: self._logger.log(step, kept))

    def note(self, step: int, text: str) -> None:
        """See the contract."""
        self._tell(lambda: self._logger.note(step, text))

    def close(self) -> None:
        """See the contract; a logger that never started has nothing to close."""
        if self._on:
            self._logger.close()
