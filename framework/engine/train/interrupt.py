"""Ctrl-C, SIGTERM and SIGHUP: finish the step, save, leave."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

from engine.core.signals import Stopped, stopping


class Interrupt:
    """While in its ``with``, remembers a signal instead of breaking off; the second one breaks off.

    Attributes:
        asked: the signal's number, 0 as long as none came.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # others may not set handlers
            for number in (signal.SIGINT, *stopping()):
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self.leave(number)
        self.asked = number

    @staticmethod
    def leave(number: int) -> NoReturn:
        """Leave as the signal asks: exit code 130, 143 or 129."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(number)
