"""How far long work is: the one protocol through which library code tells it.

Library code prints nothing. What it is doing goes to a :class:`Progress` that its caller gives it;
what a user should know afterwards goes to :mod:`logging`. The commands render both
(``engine.cli.progress``), and a worker process writes both to its log.
"""

from __future__ import annotations

import logging
from typing import Protocol

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Receives what is being done, and how far it is. It must be quick, and must not raise."""

    def __call__(self, what: str, done: float = 0, total: float | None = None, /) -> None:
        """Receive one line.

        Args:
            what: a few words, such as ``"reading model"``.
            done: how much of it is done, in the unit of ``total``.
            total: how much it is in all; ``None`` where nobody knows.
        """


def silent(what: str, done: float = 0, total: float | None = None, /) -> None:
    """A :class:`Progress` that shows nothing."""


def within(progress: Progress, what: str) -> Progress:
    """A :class:`Progress` that puts ``what: `` before its words."""
    return lambda step, done=0, total=None, /: progress(f"{what}: {step}", done, total)


def share_of(progress: Progress, number: int, count: int) -> Progress:
    """A :class:`Progress` for one of ``count`` parts of equal work; it tells shares of the whole.

    Args:
        progress: receives the share of the whole that is done, 0 to 1.
        number: the number of the part, from 0.
        count: how many parts there are.
    """

    def share(what: str, done: float = 0, total: float | None = None, /) -> None:
        progress(what, (number + (done / total if total else 0)) / count, 1)

    return share


def in_words(step: str, done: float = 0, total: float | None = None, /) -> str:
    """One line of progress: ``images, 3 of 10``; a share where the total is 1."""
    if total is None:
        return f"{step}: {done:,.0f}" if done else step
    return f"{step}: {done:.0%}" if total == 1 else f"{step}: {done:,.0f} of {total:,.0f}"


def logged(what: str, done: float = 0, total: float | None = None, /) -> None:
    """A :class:`Progress` that logs each line, at the level ``INFO``: for a worker process."""
    _log.info("%s", in_words(what, done, total))
