"""The contest's conditions: one thread on one core, no network, from a cold start.

The process forbids itself sockets before it imports anything that might want one, reads the model,
answers all data sets from their files, writes the predictions, and tells how long that took from
its very start.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from engine.bench.offline import forbid_sockets


def run_contest(path: str, started_at: float) -> None:
    """Run the job of a file.

    Args:
        path: the job.
        started_at: ``time.monotonic()`` of the process that started this one, just before.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    watched = forbid_sockets()

    import torch

    from engine.bench.code import imported_code, keep
    from engine.bench.datasets import EvaluatedDataset
    from engine.bench.evaluator import predictor_for
    from engine.bench.job import read_job, reporting
    from engine.bench.results import Contest
    from engine.bench.speed import peak_mb
    from engine.core.files import scratch, write_text
    from engine.evaluate.loading import read_model
    from engine.evaluate.runner import run

    job = read_job(path)
    with reporting(job):
        torch.set_num_threads(1)
        built = read_model(job.model, job.backend)
        predictions = {}
        for value in job.datasets:
            evaluated = EvaluatedDataset.from_json(value)
            ran = run(predictor_for(built, evaluated), evaluated.open(), workers=1)
            predictions[evaluated.name] = ran.predictions
        with scratch(Path(job.output)) as folder:
            write_text(folder / "predictions.json", json.dumps(predictions))
        seconds = time.monotonic() - started_at
        images = sum(map(len, predictions.values()))
        found = Contest(
            seconds=seconds, images=images, images_per_second=images / seconds,
            peak_mb=peak_mb(), sockets=watched,
            code=keep(imported_code(job.packages), Path(job.code)),
        )  # fmt: skip
        write_text(Path(job.output), found.model_dump_json())
