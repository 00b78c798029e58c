"""SIGTERM and SIGHUP end a command as Ctrl-C does: by way of every ``finally``."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

NAMES = ("SIGTERM", "SIGHUP")


def stopping() -> list[signal.Signals]:
    """The signals that ask this process to end; not SIGHUP where it is ignored (``nohup``)."""
    found = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


class Stopped(SystemExit):
    """A signal asks this process to end; its code is 128 and the signal's number.

    A class of its own, so that code which guards against a plugin that calls ``sys.exit`` lets it
    through.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """Meanwhile these signals raise :class:`Stopped` in the main thread.

    Further ones are ignored, so that tidying up is not broken off: service managers send both.
    Ctrl-C still breaks off.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        before = {number: signal.signal(number, _leave) for number in stopping()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    for each in stopping():
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)
