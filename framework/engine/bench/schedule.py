"""Runs the tasks of a suite, each phase in a process of its own.

Models are trained and evaluated ``jobs`` at a time; speed is measured afterwards, one at a time,
with nothing else running. Results that exist already are kept. What failed is reported and does
not stop the others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from engine.bench.plan import Task
from engine.bench.results import Failure
from engine.core.files import write_text

GRACE = 60.0
"""Seconds that a process gets to save its training when the bench is interrupted."""

_LINES = 30
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Doing:
    """What is under way: a task's phase, since when, and the last that it said."""

    title: str
    phase: str
    since: float
    line: str


class Watch(Protocol):
    """Receives how the work goes."""

    def __call__(self, done: int, total: int, doing: Sequence[Doing]) -> None:
        """Take how many of all tasks are done, and what is under way."""


Failures = Mapping[tuple[str, int, str], Failure]
"""By entry, seed and phase."""


@dataclass
class _Running:
    task: Task
    phase: str
    process: subprocess.Popen[bytes]
    log: Path
    file: IO[bytes]
    since: float


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int,
    logs: Path,
    watch: Watch = lambda done, total, doing: None,
    tick: float = 0.25,
) -> Failures:
    """Do what is left of the tasks.

    Args:
        tasks: those that failed in planning are passed over.
        jobs: processes at once, of training and evaluating.
        logs: folder for what the processes say.
        watch: receives how it goes, about four times a second.
        tick: seconds between two looks.

    Raises:
        KeyboardInterrupt, SystemExit: passed on once every process has saved and left.
    """
    failures: dict[tuple[str, int, str], Failure] = {}
    todo = [(task, phase) for task in tasks for phase in task.phases if task.job is not None]
    total, left = len(todo), left_of(todo)
    first = [item for item in left if item[1] == "evaluate"]
    then = [item for item in left if item[1] != "evaluate"]
    crew = _Crew(logs, failures, tasks)
    try:
        for waiting, at_once in ((first, jobs), (then, 1)):
            crew.work(waiting, at_once, lambda doing: watch(total - crew.left(left), total,
                                                            doing), tick)  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as stop:
        stop.add_note("what is done is kept; the same command goes on with what is left")
        raise
    finally:
        crew.stop()
    return failures


def left_of(todo: Sequence[tuple[Task, str]]) -> list[tuple[Task, str]]:
    """What is not done; where a model is to be evaluated, it is measured after that, too."""
    return [
        (task, phase)
        for task, phase in todo
        if not task.done(phase) or (phase != "evaluate" and not task.done("evaluate"))
    ]


def write_job(task: Task, phase: str, logs: Path, parent: int) -> tuple[Path, Path]:
    """Write the job of a phase.

    Args:
        task: the task.
        phase: of it.
        logs: folder for the job and for what its process will say.
        parent: see ``Job.parent``.

    Returns:
        The job's file and the log's, which is not there yet.
    """
    stem = f"{task.entry.name}.{task.seed}.{phase}"
    job = logs / f"{stem}.job.json"
    write_text(job, task.job_of(phase, parent).model_dump_json(indent=1))
    task.output(phase).parent.mkdir(parents=True, exist_ok=True)
    return job, logs / f"{stem}.log"


def threads_of(task: Task, phase: str) -> int:
    """Threads of a phase's process."""
    assert task.job is not None
    return 1 if phase == "contest" else task.job.threads


def start(job: Path, started_at: float, threads: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the process of a job.

    Args:
        job: its file.
        started_at: ``time.monotonic()`` now.
        threads: that its libraries may use.
        output: receives all that it says.
    """
    environment = {**os.environ, **dict.fromkeys(_THREADS, str(threads)), "PYTHONUNBUFFERED": "1"}
    # Parts of PyTorch ask for the user's name; without this the system's name service is asked over
    # a socket, which the contest's conditions forbid.
    environment.setdefault("USER", "engine")
    return subprocess.Popen(
        [sys.executable, "-m", "engine.bench.worker", str(job), repr(started_at)],
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
        start_new_session=True,
    )  # fmt: skip


class _Crew:
    """The processes that run."""

    def __init__(
        self, logs: Path, failures: dict[tuple[str, int, str], Failure], tasks: Sequence[Task]
    ) -> None:
        self._logs, self._failures, self._tasks = logs, failures, tasks
        self._running: list[_Running] = []
        self._over: set[tuple[str, int, str]] = set()

    def left(self, items: Sequence[tuple[Task, str]]) -> int:
        """How many are not over."""
        return sum((t.entry.name, t.seed, phase) not in self._over for t, phase in items)

    def work(
        self,
        waiting: Sequence[tuple[Task, str]],
        at_once: int,
        watch: Callable[[Sequence[Doing]], None],
        tick: float,
    ) -> None:
        """Run these, at most so many at once."""
        queue = list(waiting)
        while queue or self._running:
            while queue and len(self._running) < at_once:
                task, phase = queue.pop(0)
                if (task.entry.name, task.seed, "evaluate") in self._failures:
                    self._over.add((task.entry.name, task.seed, phase))
                    continue  # there is no model to measure
                if phase == "speed" and share_speed(task, self._tasks):
                    self._over.add((task.entry.name, task.seed, phase))
                    continue
                self._running.append(self._start(task, phase))
            watch([_doing(each) for each in self._running])
            if not self._reap():
                time.sleep(tick)
        watch([])

    def _start(self, task: Task, phase: str) -> _Running:
        job, log = write_job(task, phase, self._logs, os.getpid())
        file = log.open("wb")
        started_at = time.monotonic()
        process = start(job, started_at, threads_of(task, phase), file)
        return _Running(task, phase, process, log, file, started_at)

    def _reap(self) -> bool:
        """Take in those that have ended; whether any has."""
        ended = [each for each in self._running if each.process.poll() is not None]
        for each in ended:
            self._running.remove(each)
            each.file.close()
            place = (each.task.entry.name, each.task.seed, each.phase)
            self._over.add(place)
            if each.process.returncode != 0 or not each.task.done(each.phase):
                self._failures[place] = explain(each.process.returncode, each.log)
        return bool(ended)

    def stop(self) -> None:
        """Ask all to save and leave; end those that do not."""
        for each in self._running:
            with suppress(ProcessLookupError):
                each.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        for each in self._running:
            try:
                each.process.wait(max(0.1, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                with suppress(ProcessLookupError):
                    os.killpg(each.process.pid, signal.SIGKILL)
                each.process.wait()
            each.file.close()
        self._running.clear()


def share_speed(task: Task, tasks: Sequence[Task]) -> bool:
    """Take over the speed of a model of the same architecture; whether there is one.

    The numbers of the weights change no time, so several seeds, learning rates or losses need one
    measurement.
    """
    if task.job is None or not task.job.architecture:
        return False
    for other in tasks:
        same = other.job is not None and other.job.architecture == task.job.architecture
        found = other.measured("speed") if same and other is not task else None
        if found is not None:
            write_text(task.output("speed"), found.model_dump_json())
            return task.done("speed")
    return False


def _doing(running: _Running) -> Doing:
    return Doing(running.task.title, running.phase, running.since, last_line(running.log))


def last_line(log: Path, maximum: int = 4000) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - maximum))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def explain(code: int, log: Path) -> Failure:
    """Why a process failed: its own error, or the end of its output.

    Args:
        code: it ended with; negative: the signal that ended it.
        log: what it said, a file in the folder of the bench.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if code == 2 and starts:
        what = "\n".join(lines[starts[-1] :]).removeprefix("error: ")
    elif code == -signal.SIGSYS:
        what = "it wanted a socket where there must be no network; the kernel ended it"
    elif code == -signal.SIGKILL:
        what = "it was killed (out of memory?)"
    elif code < 0:
        what = f"it was ended by {signal.Signals(-code).name}"
    elif code == 0:
        what = "it ended without a result"
    else:
        what = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
    name = f"{log.parent.name}/{log.name}"
    return Failure(what=what.strip(), details="\n".join(lines[-_LINES:]), log=name)
