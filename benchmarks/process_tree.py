"""One command measured with everything it starts: `python process_tree.py COMMAND ...`.

Prints a JSON line: wall-clock `seconds`, `cpu` seconds (user and system, of the command and all its
descendants, orphans too: this process adopts them), `peak_mb` (10^6 bytes; the largest sum of
proportional set sizes, sampled, so that memory that processes share counts once) and `code`.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
_EVERY = 0.1


def descendants() -> list[int]:
    """Processes that this one started, at any depth."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
    found: list[int] = []
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found += level
    return found


def memory() -> int:
    """Kilobytes of all of them."""
    total = 0
    for pid in descendants():
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
    return total


def main() -> None:
    """Run, measure, print."""
    ctypes.CDLL(None, use_errno=True).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    peak, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(_EVERY):
            peak[0] = max(peak[0], memory())

    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    sampler = threading.Thread(target=sample)
    sampler.start()
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    ended.set()
    sampler.join()
    while True:  # whatever outlived the command has come to us
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    figures = {"seconds": seconds, "cpu": cpu, "peak_mb": peak[0] * 1024 / 1e6, "code": code}
    print(json.dumps({**figures, "errors": errors.decode(errors="replace")[-2000:]}))


if __name__ == "__main__":
    main()
