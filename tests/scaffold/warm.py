"""Processes that begin with the libraries imported: forks of a server that has done it once.

Most of the time of a short `engine` command goes into the import of torch. Tests that run many of
them start this server once; every command is then a process of its own, forked from it, in which
nothing of Engine or of a plugin was imported before: only the libraries were.

    python warm.py SOCKET LIBRARY...    the server; it ends when its stdin does
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import random
import runpy
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "PIL.Image", "pydantic", "torch", "torch._dynamo", "tokenizers", "ftfy",
             "onnxscript", "scipy.stats")  # fmt: skip
_LENGTH = 8  # bytes of the number before each message


# ---- the server -----------------------------------------------------------------------------


def serve(path: str, libraries: Sequence[str]) -> Callable[[], object]:
    """Wait for commands; comes back in the forked process of each, with what it must run."""
    for library in libraries:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    threads = Path("/proc/self/task")
    if threads.is_dir() and len(list(threads.iterdir())) > 1:
        raise RuntimeError("a library has started a thread, which a fork would not have")
    known = _path_files()
    gc.collect()
    gc.freeze()  # pages that nobody writes stay shared
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(16)
        print("ready", flush=True)
        import select

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the handlers
        while True:
            ready, _, _ = select.select([listening, 0], [], [])
            if 0 in ready:
                os._exit(0)  # the tests are over
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return _handle(connection, known)
            connection.close()


def _handle(connection: socket.socket, known: set[str]) -> Callable[[], object]:
    """In a process of its own: fork the command, say its id and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    wanted = _receive(connection)
    child = os.fork()
    if child:
        for descriptor in (0, 1, 2, *descriptors):
            os.close(descriptor)  # a pipe ends when the command does
        with contextlib.suppress(OSError):  # whoever asked may be gone
            _send(connection, child)
            _send(connection, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
    connection.close()
    os.setsid()
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    return _prepared(wanted, known)


def _prepared(wanted: Mapping[str, Any], known: set[str]) -> Callable[[], object]:
    """Make this process what a new Python would be."""
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(  # noqa: SIM115
        2, "w", errors="backslashreplace", buffering=1, closefd=False
    )
    random.seed()  # else every process would draw the same names
    importlib.invalidate_caches()
    for new in sorted(_path_files() - known):  # of packages that were installed since
        folder, name = os.path.split(new)
        site.addpackage(folder, name, set(sys.path))
    script, *arguments = wanted["argv"]
    sys.argv = [script, *arguments]
    if script == "-m":
        sys.argv = [arguments[0], *arguments[1:]]
        sys.path[0] = ""
        return lambda: runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    sys.path[0] = os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH120
    return lambda: runpy.run_path(script, run_name="__main__")


def _path_files() -> set[str]:
    folder = sysconfig.get_path("purelib")
    return {os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".pth")}  # noqa: PTH118, PTH208


# ---- its clients ----------------------------------------------------------------------------


class Command:
    """A process of the server's: much of ``subprocess.Popen``.

    Args:
        path: of the server's socket.
        argv: a script, or ``-m MODULE``, and its arguments.
        cwd: its folder.
        env: its environment.
        files: descriptors of its stdin, stdout and stderr.
    """

    def __init__(
        self,
        path: str,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        files: Sequence[int] = (0, 1, 2),
    ) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        socket.send_fds(self._connection, [b"f"], files)
        _send(self._connection, {"argv": list(argv), "cwd": cwd, "env": dict(env)})
        self.pid = int(_receive(self._connection))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        import select

        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; a signal's number with a minus, as ``subprocess`` has it."""
        import select

        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a warm command", timeout or 0)
            self.returncode = int(_receive(self._connection))
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                os.kill(self.pid, number)


@contextmanager
def server(python: str | Path, env: Mapping[str, str]) -> Iterator[str]:
    """Start one; gives the path of its socket.

    Args:
        python: the interpreter, of whose environment the commands are.
        env: of the server; a command brings its own.
    """
    # A socket's path has at most 107 bytes, which a folder of temporary files may have alone.
    with tempfile.TemporaryDirectory(prefix="warm-", dir="/tmp") as folder:
        path = f"{folder}/socket"
        env = {
            **env,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }  # else imports start some
        command = [str(python), str(Path(__file__).resolve()), path, *LIBRARIES]
        with subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the server of commands did not start"
            try:
                yield path
            finally:
                process.stdin.close()


def main_of_a_client(path: str, script: str) -> None:
    """What a file does that stands in for a script."""
    code = Command(path, [script, *sys.argv[1:]], os.getcwd(), os.environ).wait()  # noqa: PTH109
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _send(connection: socket.socket, message: object) -> None:
    data = json.dumps(message).encode()
    connection.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def _receive(connection: socket.socket) -> Any:
    size = int.from_bytes(_exactly(connection, _LENGTH), "big")
    return json.loads(_exactly(connection, size))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError("the server of commands is gone")
        data += more
    return data


if __name__ == "__main__":
    run = serve(sys.argv[1], sys.argv[2:])
    run()
