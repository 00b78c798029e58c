"""Every error that Engine raises on purpose.

An :class:`EngineError` is for the user: it says what is wrong, where, and what to do. The command
line prints it on one screen and exits with code 2; a traceback means a fault of ours.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Iterator


class EngineError(Exception):
    """What is wrong, in one sentence; ``hint`` says what to do about it.

    Args:
        message: what is wrong and where (name the file, the line, the plugin).
        hint: what the user can do, or ``None`` where the message already says it.

    Attributes:
        setting: the dotted path of the setting that is at fault, where that is known
            (:func:`at_setting`): who has the config's file adds its line.
    """

    exit_code = 2
    setting: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


@contextlib.contextmanager
def at_setting(path: str) -> Iterator[None]:
    """Errors raised inside belong to the setting at a dotted path, ``"data.train"``."""
    try:
        yield
    except EngineError as error:
        error.setting = error.setting or path
        raise


class ConfigError(EngineError):
    """A config (or a suite, or an override) that cannot be used. Lists every mistake at once."""


class PluginError(EngineError):
    """A plugin that is unknown, named twice, broken, or that breaks its contract."""


class WeightsError(EngineError):
    """Weights that cannot be reached, read or fitted to the model."""


class ArtifactError(EngineError):
    """A folder that is not an artifact, or one that was changed since it was written."""


class DataError(EngineError):
    """Data that is missing, empty or unreadable as a whole (one bad item never raises this)."""


class TrainingError(EngineError):
    """A run that cannot start, go on or be read: its folder, its checkpoints, its numbers."""


class WriteError(EngineError):
    """A result that the disk does not take: it is full, a quota is reached, or it is read-only."""


class BrokenImageError(EngineError):
    """One image that does not decode. Callers count and list it, and go on with the others.

    Attributes:
        reason: why, without the image's name, for a list that names it already.
    """

    def __init__(self, message: str, *, reason: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = message if reason is None else reason


class LimitError(EngineError):
    """Weights heavier than the limit allows."""

    exit_code = 1


_LONGEST_WORD = 200
_MAX_WORDS = 2000


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return ``" (did you mean `x`?)"`` for the nearest of ``known``, or ``""`` if none is near.

    A comparison takes the product of two lengths: of very many or very long words none is offered.
    """
    if len(word) > _LONGEST_WORD or len(known) > _MAX_WORDS:
        return ""
    known = [each for each in known if len(each) <= _LONGEST_WORD]
    near = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    if not near:
        return ""
    original = next(k for k in known if k.lower() == near[0])
    return f" (did you mean `{original}`?)"
