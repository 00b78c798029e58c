"""A command in a process of its own, forked from this one, for ``benchmarks/soak.py``."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

_NEWPID, _NEWUSER = 0x20000000, 0x10000000  # linux/sched.h


@dataclass
class Process:
    """A command under way.

    Attributes:
        pid: of its first process, as this program sees it.
        waited: the process to wait for; in a namespace the one that made it.
    """

    pid: int
    waited: int

    def wait(self, seconds: float) -> int | None:
        """Its exit code (negative: the signal), or ``None`` while it runs on."""
        until = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(self.waited, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= until:
                return None
            time.sleep(0.002)

    def end(self, number: int) -> int:
        """Send it a signal and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        code = self.wait(120)
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            raise RuntimeError(f"signal {number} did not end it")
        return code


def start(arguments: list[str], log: Path, *, namespace: bool) -> Process:
    """Run a command in a process forked from this one, which has imported everything already."""
    if not namespace:
        pid = os.fork()
        if pid == 0:
            _be(arguments, log)
        return Process(pid, pid)
    read, write = os.pipe()
    outer = os.fork()
    if outer == 0:
        os.close(read)
        _enter()
        inner = os.fork()
        if inner == 0:
            os.close(write)
            _be(arguments, log)
        os.write(write, b"%d\n" % inner)
        os.close(write)
        _, status = os.waitpid(inner, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    os.close(write)
    with os.fdopen(read) as caught:
        line = caught.readline()
    if not line:
        os.waitpid(outer, 0)
        raise RuntimeError("no PID namespace can be made")
    return Process(int(line), outer)


def _enter() -> None:
    """The next fork is the first process of a new PID namespace; exits where that is refused."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEWPID) != 0 and libc.unshare(_NEWUSER | _NEWPID) != 0:
        os._exit(1)


def _be(arguments: list[str], log: Path) -> None:
    """Become the command. Never comes back."""
    code = 70
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(handle, number)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.default_int_handler if each == 2 else signal.SIG_DFL)
        sys.argv = ["engine", *arguments]
        from engine.cli import main

        try:
            main.run()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
