"""``python -m engine.bench.worker JOB STARTED_AT``: one process of the bench."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from engine.bench.job import Job
    from engine.bench.results import Result, Speed

    F = TypeVar("F", Result, Speed)


def main(path: str, started_at: float) -> None:
    """Do the job of a file.

    Args:
        path: see ``job.py``.
        started_at: ``time.monotonic()`` of the bench just before it started this process.
    """
    from engine.core.signals import ending_in_order

    with ending_in_order():
        _do(path, started_at)


def _do(path: str, started_at: float) -> None:
    import json

    if json.loads(Path(path).read_bytes())["phase"] == "contest":
        from engine.bench.contest import run_contest

        run_contest(path, started_at)
        return
    from engine.bench.job import read_job, reporting
    from engine.core.files import write_text

    job = read_job(path)
    with reporting(job):
        if job.phase == "speed":
            from engine.bench.speed import measure_speed

            speed = measure_speed(job)
            write_text(Path(job.output), _with_code(job, speed).model_dump_json())
            return
        import torch

        torch.set_num_threads(job.threads)
        for phase in ("speed", "contest"):  # of the model and the code before
            Path(job.output).with_suffix(f".{phase}.json").unlink(missing_ok=True)
        folder = job.made
        if job.source == "config":
            from engine.bench.training import make_model

            folder = make_model(job)
        if job.fit is not None:
            from engine.bench.fitting import fitted_model

            folder = fitted_model(job, folder)
        from engine.bench.evaluator import (
            evaluate_entry,  # after the model: it does not follow from this
        )

        result, answers = evaluate_entry(job, folder)
        write_text(Path(job.answers), answers.model_dump_json())
        write_text(Path(job.output), _with_code(job, result).model_dump_json())


def _with_code(job: Job, fact: F) -> F:
    """What was measured, with the record of the code that this process imported."""
    from engine.bench.code import imported_code, keep

    return fact.model_copy(update={"code": keep(imported_code(job.packages), Path(job.code))})


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
