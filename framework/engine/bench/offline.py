"""No network: a process that opens a socket dies, and a process that ends has opened none.

On Linux the kernel watches (seccomp, `man 2 seccomp`): the system calls that make a socket kill the
process, whichever library makes them. Everywhere Python's audit hook watches its own sockets, and
says which code wanted one.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from typing import Any

# linux/audit.h, linux/filter.h, linux/seccomp.h, linux/prctl.h
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {
    # socket, socketpair, io_uring_setup (whose rings can make sockets)
    "x86_64": (41, 53, 425),
    "aarch64": (198, 199, 425),
}
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_X32 = 0x40000000

KERNEL = "none: the kernel kills a process that makes one (seccomp)"
PYTHON = "none by Python (audit hook); this system cannot watch native code"


class SocketError(RuntimeError):
    """Something in this process wanted a socket."""


def forbid_sockets() -> str:
    """From now on no socket can be made in this process or its children; cannot be undone.

    Call it before any thread is started: those that run already are not watched.

    Returns:
        How that is known, in words, for the result.
    """
    sys.addaudithook(_refuse)
    return KERNEL if _filter_calls() else PYTHON


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo"):
        raise SocketError(f"a socket was asked for ({event}) where there must be no network")


def _filter_calls() -> bool:
    """Ask the kernel; False where it is none that can."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _ARCH:
        return False
    program = _program(_ARCH[machine], _CALLS[machine])
    code = ctypes.create_string_buffer(program)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    filtered = Program(len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filtered), 0, 0) == 0)


def _program(arch: int, calls: tuple[int, ...]) -> bytes:
    """The filter: another architecture's call, or one of ``calls``, kills; all else goes on."""
    kill = len(calls) + 5  # place of the instruction that kills
    lines = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_EQUAL, 0, kill - 2, arch),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
        (_AT_LEAST, kill - 4, 0, _X32),  # x86_64's other set of numbers
        *((_EQUAL, kill - 5 - i, 0, call) for i, call in enumerate(calls)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
