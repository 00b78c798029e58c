"""Training on a card: right, and how fast beside open_clip's own kind of loop. Under eight minutes.

1. ``pytest -m gpu``: losses of each precision as on the CPU, a run that goes on.
2. Full training and stage 1 (ViT-B/32 with GPT-2 small, bfloat16) by Engine's trainer and by a
   plain loop in open_clip's style (locked image tower, texts padded to 77 tokens, nothing kept
   between steps), of the same weights (random), data and seeds, pictures decoded in memory.

    python benchmarks/gpu.py --json                         # on a card
    python benchmarks/gpu.py --device cpu --small --json    # anywhere: a tiny model, the same code

Without a card it says so and ends, unless ``--device cpu`` asks for the processor; figures of a
processor say nothing about a card. ``full_ratio``: samples a second of Engine over the plain
loop's, after the first epoch, in full training (aim: at least 1.0); ``stage1_ratio``: of stage 1
(aim: at least 20). ``utilisation``: share of the time in which the card computed, by its driver.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measure import ROOT, finish
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from training_jobs import EVERYTHING, LAST_THREE, Job, _stage, make

from engine.contracts import Epoch
from engine.contracts.preprocess import to_batch
from engine.data.seeds import seed_of
from engine.train.data import draws
from engine.train.loop import Trainer
from engine.train.stages import freeze, named_parameters


class Enough(Exception):
    """Enough steps."""


def job_of(name: str, device: str, *, small: bool, batch: int) -> Job:
    """``full`` or ``stage1``."""
    trains = EVERYTHING if name == "full" else LAST_THREE
    config = "configs/sber.yaml"
    if small:
        config = "configs/tiny/sber.yaml"
        trains = EVERYTHING if name == "full" else "{text: {blocks: last 1}}"
    where = (f"train.device={device}", "train.precision=bfloat16")
    return Job(config, (*_stage(trains, batch, 1000), *where), 2, batch, 12 if small else 77,
               12 if small else None)  # fmt: skip


def wait(device: torch.device) -> None:
    """Until the card has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain(job: Job, device: torch.device) -> Iterator[float]:
    """open_clip's way, in bfloat16 by autocast."""
    config, built, rows, pictures = make(job)
    model = built.model.to(device)
    stage = config.train.stages[0]  # type: ignore[union-attr]
    freeze(model, stage.trains, "train.stages.0")
    optimizer = stage.optimizer.create().create(named_parameters(model, {}))
    locked = not any(p.requires_grad for p in model.vision.parameters())
    for step in range(1000 * job.batches):
        epoch, number = divmod(step, job.batches)
        position = Epoch(epoch, 1000, len(rows), job.batch_size,
                         seed_of(config.seed, "order", 0, epoch))  # fmt: skip
        batch = stage.sampler.create().batches(position)[number]
        drawn = draws(seed_of(config.seed, "queries", 0, epoch), len(rows))
        tokens = rows.table.padded(rows.sequence[rows.drawn(batch, drawn)], job.longest)
        pixels = to_batch(list(pictures.pixels[batch]), model.vision.preprocess, device)
        with torch.autocast(device.type, torch.bfloat16):
            with torch.set_grad_enabled(not locked):
                state = model.vision({"pixels": pixels})
            image = model.vision_projection(state)["embedding"]
            text = model.encode_text(tokens["ids"].to(device), tokens["mask"].to(device))
        image = functional.normalize(image.float(), dim=-1)
        logits = model.logit_scale.exp() * image @ functional.normalize(text.float(), dim=-1).T
        right = torch.arange(len(batch), device=device)
        loss = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        optimizer.zero_grad(set_to_none=True)
        (loss / 2).backward()
        optimizer.step()
        yield float(loss.detach()) / 2


def engine(job: Job, steps: int, device: torch.device) -> tuple[list[float], list[float]]:
    """Seconds and losses of steps of Engine's trainer, all between two steps included."""
    _, built, rows, _ = make(job)
    seconds, losses = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(built, rows, Path(folder))
        real, before = trainer._step, time.perf_counter()

        def step(*arguments: Any) -> Any:
            nonlocal before
            if losses:
                wait(device)
                now = time.perf_counter()
                seconds.append(now - before)
                before = now
            else:
                before = time.perf_counter()
            if len(seconds) >= steps:
                raise Enough
            measured = real(*arguments)
            losses.append(float(measured.loss))
            return measured

        trainer._step = step  # type: ignore[method-assign]
        with contextlib.suppress(Enough):
            trainer.run()
    return seconds, losses


def measure(job: Job, steps: int, device: torch.device) -> dict[str, Any]:
    """Both loops, one after the other, on one device."""
    busy = list[float]()
    loop, slow, losses = plain(job, device), list[float](), list[float]()
    for _ in range(steps):
        started = time.perf_counter()
        losses.append(next(loop))
        slow.append(time.perf_counter() - started)
    loop.close()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    fast, own = engine(job, steps + job.batches, device)
    if device.type == "cuda":
        busy.append(float(torch.cuda.utilization(device)))
    usual, quick = statistics.median(slow[1:]), statistics.median(fast[job.batches :])
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return {
        "ratio": usual / quick,
        "samples_per_second": job.batch_size / quick,
        "plain_samples_per_second": job.batch_size / usual,
        "loss_difference": max(abs(a - b) for a, b in zip(losses[:2], own[:2], strict=True)),
        "utilisation": busy[0] / 100 if busy else None,
        "memory_bytes": memory,
    }


def tests() -> bool:
    """``pytest -m gpu``."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider",
               "tests/framework/train/test_gpu.py"]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode == 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="a tiny model")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=0, help="256; 32 where --small")
    options = parser.parse_args()
    card = torch.cuda.is_available()
    if options.device == "cuda" and not card:
        print("no card is present: nothing was measured (`--device cpu --small` runs the code)")
        finish(options.json, {"card": None})
        return
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if options.device == "cuda" else None
    os.chdir(ROOT)
    correct = tests()
    batch = options.batch_size or (32 if options.small else 256)
    figures: dict[str, Any] = {"card": name, "device": options.device, "correct": correct}
    table = Table(title=f"{name or 'no card: the processor'}, bfloat16, batch {batch}")
    for column in ("training", "Engine, samples/s", "plain loop", "ratio", "utilisation", "memory"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for kind in ("full", "stage1"):
        job = job_of(kind, options.device, small=options.small, batch=batch)
        found = measure(job, options.steps, device)
        figures |= {f"{kind}_{key}": value for key, value in found.items()}
        busy = found["utilisation"]
        table.add_row(
            kind, f"{found['samples_per_second']:.1f}", f"{found['plain_samples_per_second']:.1f}",
            f"{found['ratio']:.2f}", "-" if busy is None else f"{busy:.0%}",
            f"{found['memory_bytes'] / 1e9:.2f} GB" if found["memory_bytes"] else "-",
        )  # fmt: skip
    Console().print(table)
    if not correct:
        print("the tests marked gpu fail, so the figures mean nothing")
    finish(options.json, json.loads(json.dumps(figures)))
    sys.exit(0 if correct else 1)


if __name__ == "__main__":
    main()
