from __future__ import annotations

import platform
import signal
import subprocess
import sys

import pytest

from engine.bench.offline import KERNEL


def run(code: str) -> subprocess.CompletedProcess[str]:
    begin = "from engine.bench.offline import forbid_sockets\nprint(forbid_sockets(), flush=True)\n"
    return subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=60
    )


def test_without_a_socket_all_is_well() -> None:
    found = run("open('/dev/null').read(); print('done')")
    assert found.returncode == 0
    assert found.stdout.splitlines()[-1] == "done"


def test_pythons_sockets_are_refused_with_the_place() -> None:
    found = run("import socket\nsocket.socket()")
    assert found.returncode == 1
    assert "SocketError: a socket was asked for" in found.stderr


linux = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="seccomp filters are written for Linux on x86_64 and aarch64",
)


@linux
@pytest.mark.parametrize("call", ["socket(2, 1, 0)", "socketpair(1, 1, 0, (c_int * 2)())"])
def test_native_code_is_killed_by_the_kernel(call: str) -> None:
    found = run(f"from ctypes import CDLL, c_int\nCDLL(None).{call}\nprint('went on')")
    assert found.stdout.strip() == KERNEL
    assert found.returncode == -signal.SIGSYS


@linux
def test_children_and_later_threads_are_watched_too() -> None:
    code = (
        "import threading\nfrom ctypes import CDLL\n"
        "thread = threading.Thread(target=lambda: CDLL(None).socket(2, 1, 0))\n"
        "thread.start(); thread.join(); print('went on')"
    )
    assert run(code).returncode == -signal.SIGSYS
    code = (
        "import os\npid = os.fork()\nif not pid:\n    from ctypes import CDLL\n"
        "    CDLL(None).socket(2, 1, 0)\n    os._exit(0)\n"
        "print(os.WTERMSIG(os.waitpid(pid, 0)[1]))"
    )
    assert run(code).stdout.split()[-1] == str(int(signal.SIGSYS))
