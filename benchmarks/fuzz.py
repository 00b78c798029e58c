"""Mutated files, each of which gets a correct answer or a clear error.

    python benchmarks/fuzz.py --count 1000 --json
    python benchmarks/fuzz.py --repeat 417

Checkpoints, artifacts, configs, predictions and shards in turn. Each case follows from the seed
and its number alone. The cases run in a process of their own, which may not take more memory than
a limit, and which is ended where a case takes longer than its time. A case fails where anything
but an ``EngineError`` is raised, where the error is empty or long, where an answer is wrong, and
where memory or time run out. Exit code 1 where a case failed.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz_kinds import CASES, case, prepare

SECONDS = 30.0
"""A case may take so long; reading a real artifact takes a tenth of it."""

MEMORY = 2 << 30
"""Bytes that a case may take beyond what the process has."""

_START = 180.0  # seconds to import torch and to write the good files, on a slow machine
_LONGEST_MESSAGE = 4000


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

        Attributes:
            number: of the case.
            kind: of the file.
            ended: ``"answer"``, ``"error"`` (an EngineError), or ``"fault"``.
    message: the error's message, or what went wrong.
            seconds: wall-clock time.
    """

    number: int
    kind: str
    ended: str
    message: str
    seconds: float


def kind_of(number: int) -> str:
    """The kind of a case."""
    return tuple(CASES)[number % len(CASES)]


def run(count: int, seed: int, folder: Path, first: int = 0) -> Iterator[Outcome]:
    """Run the cases ``first`` to ``first + count`` in processes that may fail."""
    with contextlib.ExitStack() as stack:
        worker: _Worker | None = None
        for number in range(first, first + count):
            if worker is None:
                worker = stack.enter_context(_Worker(seed, folder))
            outcome = worker.ask(number)
            yield outcome
            if outcome.ended == "fault" and not worker.alive:
                worker = None


class _Worker:
    """A process that runs one case after the other."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", str(folder), "--seed", str(seed)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                 "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        self.alive = self._line(_START) == b"ready\n"

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, number: int) -> Outcome:
        kind, start = kind_of(number), time.perf_counter()

        def fault(message: str) -> Outcome:
            self._end()
            return Outcome(number, kind, "fault", message, time.perf_counter() - start)

        if not self.alive:
            return fault("the process did not start")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return fault("the process had ended")
        line = self._line(SECONDS)
        if line is None:
            return fault(f"took longer than {SECONDS:.0f} seconds")
        if not line:
            return fault(f"ended the process: {self._process.wait()}")
        ended, message = json.loads(line)
        return Outcome(number, kind, ended, message, time.perf_counter() - start)

    def _line(self, seconds: float) -> bytes | None:
        """A line of the process; ``None`` where it takes too long, empty where it has ended."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        return self._process.stdout.readline() if ready else None

    def _end(self) -> None:
        self.alive = False
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


# --- in the process of the cases ---------------------------------------------------------------


def one(seed: int, number: int, good: Path) -> tuple[str, str]:
    """Run one case here: how it ended, and what was reported."""
    from engine.errors import EngineError

    chance = Random(f"{seed} {number}")
    work = Path(tempfile.mkdtemp(dir=good.parent))
    before = Path.cwd()
    os.chdir(work)
    try:
        case(kind_of(number), good, work, chance)
    except EngineError as error:
        message = str(error)
        clear = len(error.message) > 0 and len(message) <= _LONGEST_MESSAGE
        return ("error", message) if clear else ("fault", f"an unclear error: {message[:300]!r}")
    except BaseException as error:
        trace = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(trace.filename).name}:{trace.lineno}"
        return "fault", f"{type(error).__name__} at {place}: {str(error)[:300]}"
    finally:
        os.chdir(before)
        shutil.rmtree(work, ignore_errors=True)
    return "answer", ""


def _work(seed: int, folder: Path) -> None:
    """Answer the numbers on stdin with a line of JSON each."""
    import resource

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is not an answer
    good = folder / "good"
    if not good.is_dir():
        made = Path(tempfile.mkdtemp(dir=folder))
        prepare(made)
        made.rename(good)
    for kind in range(len(CASES)):  # imports what each kind needs, before memory is limited
        one(-1, kind, good)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out.write(b"ready\n")
    out.flush()
    for line in sys.stdin:
        out.write(json.dumps(one(seed, int(line), good)).encode() + b"\n")
        out.flush()


def summary(outcomes: list[Outcome], seed: int) -> dict[str, Any]:
    """Counts by kind, the slowest case, and every fault."""
    counts = collections.Counter((each.kind, each.ended) for each in outcomes)
    slowest = max(outcomes, key=lambda each: each.seconds)
    return {
        "seed": seed,
        "cases": len(outcomes),
        "faults": sum(each.ended == "fault" for each in outcomes),
        "kinds": {
            kind: {ended: counts[kind, ended] for ended in ("answer", "error", "fault")}
            for kind in CASES
        },
        "slowest": asdict(slowest),
        "failed": [asdict(each) for each in outcomes if each.ended == "fault"],
    }


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=1000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", type=int, help="one case alone, here, with its traceback")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        _work(given.seed, given.worker)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.repeat is not None:
            (folder / "good").mkdir()
            prepare(folder / "good")
            (folder / "work").mkdir()
            chance = Random(f"{given.seed} {given.repeat}")
            case(kind_of(given.repeat), folder / "good", folder / "work", chance)
            return
        outcomes = []
        for outcome in run(given.count, given.seed, folder, given.first):
            outcomes.append(outcome)
            if outcome.ended == "fault" and not given.json:
                print(f"{outcome.number} {outcome.kind}: {outcome.message}", flush=True)
    found = summary(outcomes, given.seed)
    print(json.dumps(found) if given.json else json.dumps(found, indent=1))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
