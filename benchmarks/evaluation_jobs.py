"""The jobs of evaluation.py, each a process of its own: ``evaluation_jobs.py KIND JOB.json``.

``theirs`` is CLIP_benchmark's own command line and ``ours`` is Engine's, each as a user calls it;
both are watched from outside: the clock starts when the model is loaded and stops when the scores
are known, and what they answered is written down. ``tune`` finds CLIP_benchmark's best batch size
and number of workers. The first and the last run in CLIP_benchmark's environment, without Engine.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

ARCH = "ViT-B-32-quickgelu"
TOP = 5
Job = dict[str, Any]


class Clock:
    """Seconds on the wall, and of the processors: this process and those that it has waited for."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def start(self) -> None:
        self._started = (time.perf_counter(), _cpu_seconds())

    def stop(self) -> None:
        self.wall = time.perf_counter() - self._started[0]
        self.cpu = _cpu_seconds() - self._started[1]


def _cpu_seconds() -> float:
    both = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def theirs(job: Job) -> None:
    """``clip_benchmark eval`` on a folder of pictures, with names and templates of the job."""
    from clip_benchmark import cli

    clock, metrics = Clock(), cli.zeroshot_classification
    load, evaluate, classify = cli.load_clip, metrics.evaluate, metrics.run_classification
    seen: dict[str, Any] = {}

    def timed_load(*arguments: Any, **more: Any) -> Any:
        found = load(*arguments, **more)
        clock.start()
        return found

    def timed_evaluate(model: Any, dataloader: Any, *arguments: Any, **more: Any) -> Any:
        seen["scores"] = evaluate(model, dataloader, *arguments, **more)
        clock.stop()
        seen["files"] = [path for path, _ in dataloader.dataset.samples]
        return seen["scores"]

    def watched(*arguments: Any, **more: Any) -> Any:
        seen["logits"], labels = classify(*arguments, **more)
        return seen["logits"], labels

    cli.load_clip, metrics.evaluate, metrics.run_classification = (
        timed_load,
        timed_evaluate,
        watched,
    )
    sys.argv = [
        "clip_benchmark", "eval", "--task", "zeroshot_classification",
        "--dataset", "imagenet1k-unverified", "--dataset_root", job["pictures"],
        "--custom_classname_file", job["names"], "--custom_template_file", job["templates"],
        "--model", ARCH, "--pretrained", job["weights"], "--model_type", "open_clip",
        "--batch_size", str(job["batch_size"]), "--num_workers", str(job["workers"]),
        "--no_amp", "--quiet", "--output", job["output"],
    ]  # fmt: skip
    cli.main()
    chances, best = seen["logits"].softmax(dim=-1).topk(min(TOP, seen["logits"].shape[1]))
    answers = {
        Path(file).stem: [indices, values]
        for file, indices, values in zip(
            seen["files"], best.tolist(), chances.tolist(), strict=True
        )
    }
    write(job, clock, answers, 100 * seen["scores"]["acc1"])


def ours(job: Job) -> None:
    """``engine eval`` of the artifact with the same weights, at its default batch size."""
    from engine.cli.main import run as command
    from engine.evaluate import loading, runner

    clock = Clock()
    load, score_runs = loading.load, runner.score_runs
    seen: dict[str, Any] = {}

    def timed_load(path: Path, **how: Any) -> Any:
        found = load(path, **how)
        clock.start()
        return found

    def timed_score(runs: Any, truth: Any = None, **more: Any) -> Any:
        seen["score"], seen["runs"] = score_runs(runs, truth, **more), runs
        clock.stop()
        return seen["score"]

    loading.load, runner.score_runs = timed_load, timed_score
    sys.argv = [
        "engine", "eval", job["artifact"], job["pictures"], "--truth", job["truth"],
        "--threads", str(job["threads"]), "--workers", str(job["threads"]), "-o", job["output"],
        *(["--cache", job["cache"]] if job.get("cache") else []),
    ]  # fmt: skip
    try:
        command()
    except SystemExit as stop:
        if stop.code:
            raise
    (run,) = seen["runs"]
    answers = {row.record.id: [list(row.classes), list(row.probabilities)] for row in run.rows}
    write(job, clock, answers, seen["score"].accuracy, tower_rows=run.tower_rows)


def tune(job: Job) -> None:
    """CLIP_benchmark's fastest batch size and number of workers, on the first pictures."""
    import torch
    from clip_benchmark.datasets.builder import build_dataset, get_dataset_collate_fn
    from clip_benchmark.metrics.zeroshot_classification import run_classification
    from clip_benchmark.models import load_clip

    model, transform, _ = load_clip("open_clip", ARCH, job["weights"], None, "cpu")
    model.eval()
    dataset = build_dataset(
        "imagenet1k-unverified", job["pictures"], transform, task="zeroshot_classification",
        custom_classname_file=job["names"], custom_template_file=job["templates"],
    )  # fmt: skip
    classifier = torch.randn(512, 19)
    some = torch.utils.data.Subset(dataset, range(min(job["count"], len(dataset))))
    found: dict[str, float] = {}
    for batch, workers in [(32, 0), *job["candidates"]]:  # the first one warms up
        loader = torch.utils.data.DataLoader(
            some, batch_size=batch, shuffle=False, num_workers=workers,
            collate_fn=get_dataset_collate_fn("imagenet1k-unverified"),
        )  # fmt: skip
        clock = Clock()
        clock.start()
        run_classification(model, classifier, loader, "cpu", amp=False)
        clock.stop()
        found[f"{batch} {workers}"] = clock.cpu if job["clock"] == "cpu" else clock.wall
    batch, workers = map(int, min(found, key=found.__getitem__).split())
    result = {"batch_size": batch, "workers": workers, "seconds": found}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


def write(job: Job, clock: Clock, answers: dict[str, Any], accuracy: float, **more: object) -> None:
    """What was measured and answered: ``{image id: [class indices, probabilities]}``."""
    packages = ("torch", "torchvision", "open_clip_torch", "pillow")
    found = {
        "wall": clock.wall,
        "cpu": clock.cpu,
        "accuracy": accuracy,
        "answers": answers,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        **more,
    }
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def main(kind: str, path: str) -> None:
    """Run a job on as many cores as it has threads."""
    job: Job = json.loads(Path(path).read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    {"theirs": theirs, "ours": ours, "tune": tune}[kind](job)


if __name__ == "__main__":
    main(*sys.argv[1:])
