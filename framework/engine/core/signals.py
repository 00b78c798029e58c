"""SIGTERM and SIGHUP end a command as Ctrl-C does: by way of every ``finally``."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

NAMES = ("SIGTERM", "SIGHUP")


def stopping() -> list[signal.Signals]:
    """The signals that ask this process to end; not SIGHUP where it is ignored (``nohup``)."""
    found = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """Meanwhile these signals raise SystemExit (128 and the number) in the main thread.

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
    sys.exit(128 + number)
