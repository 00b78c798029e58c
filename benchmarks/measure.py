"""What benchmarks share: whole processes measured from outside, rounds in turn, a JSON line."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """One finished process: wall-clock seconds and peak resident memory in megabytes (10^6)."""

    seconds: float
    peak_mb: float


def engine_command() -> str:
    """The ``engine`` command of this Python's environment."""
    beside = Path(sys.executable).with_name("engine")
    found = str(beside) if beside.exists() else shutil.which("engine")
    if found is None:
        sys.exit("benchmark: the `engine` command is not installed in this environment")
    return found


def run_process(command: Sequence[str]) -> Run:
    """Run a command to its end, output thrown away; exits with its output where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{errors}")
    return Run(seconds, usage.ru_maxrss * 1024 / 1e6)


def in_turn(rounds: int, *jobs: Callable[[], float], warm_up: bool = True) -> list[list[float]]:
    """Run the jobs A B A B ..., one warm-up round first; the figures of each job."""
    figures: list[list[float]] = [[] for _ in jobs]
    for round_ in range(rounds + warm_up):
        for job, found in zip(jobs, figures, strict=True):
            figure = job()
            if round_ >= warm_up:
                found.append(figure)
    return figures


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios pair by pair: what a noisy machine does to both cancels."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (5)")
    return parser


def finish(as_json: bool, figures: dict[str, object]) -> None:
    """Print the one JSON object last, where asked."""
    if as_json:
        print(json.dumps(figures, ensure_ascii=False))
