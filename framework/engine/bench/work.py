"""``python -m engine.bench.work JOB BORN``: one process of the bench."""

from __future__ import annotations

import sys
from pathlib import Path


def main(path: str, born: float) -> None:
    """Do the job of a file.

    Args:
        path: see ``job.py``.
        born: ``time.monotonic()`` of the bench just before it started this process.
    """
    from engine.signals import ending_in_order

    with ending_in_order():
        _do(path, born)


def _do(path: str, born: float) -> None:
    import json

    if json.loads(Path(path).read_bytes())["phase"] == "contest":
        from engine.bench.contest import run_contest

        run_contest(path, born)
        return
    from engine.bench.job import read_job, reporting
    from engine.files import write_text

    job = read_job(path)
    with reporting(job):
        if job.phase == "speed":
            from engine.bench.speed import measure_speed

            write_text(Path(job.output), measure_speed(job).model_dump_json())
            return
        import torch

        from engine.bench.judge import judge

        torch.set_num_threads(job.threads)
        result, answers = judge(job)
        write_text(Path(job.answers), answers.model_dump_json())
        write_text(Path(job.output), result.model_dump_json())


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
