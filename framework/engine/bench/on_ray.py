"""The same jobs on a Ray cluster: each phase a Ray task that starts the usual process.

The bench's folder must be reachable under the same name by all machines. Ray is optional:
``pip install ray``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.bench.job import Job
from engine.bench.plan import Task
from engine.bench.results import Failure
from engine.bench.schedule import (
    Doing,
    Failures,
    Watch,
    explain,
    last_line,
    left_of,
    start,
    threads_of,
    write_job,
)
from engine.core.files import write_text
from engine.core.ray_cluster import joined_cluster
from engine.train.ray_workers import check_machine


def run_on_ray(
    tasks: Sequence[Task],
    *,
    jobs: int,
    logs: Path,
    watch: Watch = lambda done, total, doing: None,
    tick: float = 0.25,
) -> Failures:
    """As :func:`engine.bench.schedule.run_tasks`, on a Ray cluster.

    It is the one that ``RAY_ADDRESS`` names, or one that is started here. ``jobs`` is left to Ray:
    a task takes as many CPUs as it has threads.

    Speed is measured when all models are made, but Ray may put several on one machine at once: for
    figures to be compared, measure speed here.

    Raises:
        PluginError: Ray is not installed.
        TrainingError: no machine of the cluster has the CPUs that a task takes.
    """
    with joined_cluster("`--jobs N` runs N processes here") as ray:
        return _run(ray, tasks, logs, watch, tick)


def _run(ray: Any, tasks: Sequence[Task], logs: Path, watch: Watch, tick: float) -> Failures:
    failures: dict[tuple[str, int, str], Failure] = {}
    todo = [(task, phase) for task in tasks for phase in task.phases if task.job is not None]
    left = left_of(todo)
    done = len(todo) - len(left)
    if left:
        check_machine(ray, max(threads_of(task, phase) for task, phase in left))
    for evaluating in (True, False):
        waiting = {}
        for task, phase in left:
            failed = (task.entry.name, task.seed, "evaluate") in failures
            if (phase == "evaluate") == evaluating and not failed:
                waiting[_submit(ray, task, phase, logs)] = (task, phase, time.monotonic())
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=tick)
            for each in ready:
                task, phase, _ = waiting.pop(each)
                done += 1
                failure = _outcome(ray, each, task, phase, logs)
                if failure is not None:
                    failures[task.entry.name, task.seed, phase] = failure
            watch(done, len(todo), [
                Doing(task.title, phase, since, last_line(_log(logs, task, phase)))
                for task, phase, since in waiting.values()
            ])  # fmt: skip
    return failures


def _log(logs: Path, task: Task, phase: str) -> Path:
    return logs / f"{task.entry.name}.{task.seed}.{phase}.log"


def _submit(ray: Any, task: Task, phase: str, logs: Path) -> Any:
    threads = threads_of(task, phase)
    job, log = write_job(task, phase, logs.absolute(), 0)
    remote = ray.remote(num_cpus=threads, max_retries=0)(run_job)
    return remote.remote(str(job), str(log), threads, str(Path.cwd()))


def _outcome(ray: Any, ticket: Any, task: Task, phase: str, logs: Path) -> Failure | None:
    try:
        code = int(ray.get(ticket))
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Failure(what=f"Ray: {lines[-1]}", details=str(error))
    if code == 0 and task.done(phase):
        return None
    return explain(code, _log(logs, task, phase))


def run_job(job_path: str, log: str, threads: int, here: str) -> int:
    """On a worker: start the process of a job and wait for it; its exit code."""
    os.chdir(here)  # paths in a suite are relative to where the command was given
    path = Path(job_path)
    job = Job.model_validate_json(path.read_bytes())
    write_text(path, job.model_copy(update={"parent": os.getpid()}).model_dump_json(indent=1))
    with Path(log).open("wb") as output:
        return start(path, time.monotonic(), threads, output).wait()
