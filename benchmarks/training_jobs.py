"""The jobs of training.py, each a process of its own that does a step whenever it is asked to.

A job reads lines from stdin; for each it does one training step and prints one line of JSON:
seconds, loss, and its peak memory so far in megabytes (10^6).
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import ROOT
from PIL import Image
from torch.nn import functional

from engine.contracts import Dataset, Epoch, Record, Tokenizer
from engine.contracts.preprocess import to_batch
from engine.core.build import Built
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.making import make_model
from engine.data.seeds import seed_of
from engine.train.data import TrainingRows, draws
from engine.train.loop import Trainer

CONTEXT = 77
"""What open_clip pads a text to."""


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        config: the config's file.
        overrides: of its settings.
        batches: of an epoch.
        longest: tokens that the plain loop pads to; ``None``: to the longest of the batch.
        length: of the queries, ``None``: like people's.
    """

    config: str
    overrides: tuple[str, ...]
    batches: int
    batch_size: int
    longest: int | None = CONTEXT
    length: int | None = None


def _stage(trains: str, batch_size: int, epochs: int) -> tuple[str, ...]:
    stage = f"name: one, trains: {trains}, epochs: {epochs}, batch_size: {batch_size}"
    return (
        f"train.stages=[{{{stage}}}]",
        "train.loggers=[]", "train.log_every=1", "train.evaluate_every=0", "data.evaluate=[]",
    )  # fmt: skip


LAST_THREE = "{text: {blocks: last 3}}"
WITH_EMBEDDINGS = "{text: {blocks: last 3, embeddings: true}}"
EVERYTHING = "{vision: true, text: true}"


def job_named(name: str, size: int = 256) -> Job:
    """``stage1``, ``stage2`` (batches of ``size``), or ``free``: a tiny model, nothing frozen."""
    if name == "free":
        return Job("configs/tiny/sber.yaml", _stage(EVERYTHING, 128, 1000), 4, 128, None, 12)
    trains = {"stage1": LAST_THREE, "stage2": WITH_EMBEDDINGS}[name]
    return Job("configs/sber.yaml", _stage(trains, size, 1000), 2, size)


class Pictures(Dataset):
    """Noise in memory, each with one query: numbers, which are its tokens."""

    name = "noise"

    def __init__(self, count: int, side: int, vocabulary: int, length: int | None) -> None:
        rng = np.random.default_rng(0)
        self.pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
        # Queries of image search are short: two marks and a Poisson number of tokens around 8.
        lengths = np.clip(2 + rng.poisson(8, count), 4, 15) if length is None else [length] * count
        self._texts = [
            " ".join(map(str, rng.integers(5, vocabulary, size - 2))) for size in lengths
        ]

    def __len__(self) -> int:
        return len(self._texts)

    def record(self, index: int) -> Record:
        return Record(str(index), (self._texts[index],))

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


class Numbers(Tokenizer):
    """A text of numbers is its tokens, between two marks."""

    pad_id, vocab_size, origin = 0, 1, "made for the benchmark"

    @classmethod
    def make(cls, settings: Any, texts: Any, vocab_size: int) -> Numbers:
        return cls()

    @classmethod
    def from_bytes(cls, settings: Any, data: bytes) -> Numbers:
        return cls()

    def to_bytes(self) -> bytes:
        return b"{}"

    def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        return [[1, *map(int, text.split()), 2] for text in texts]


def make(job: Job) -> tuple[EngineConfig, Built, TrainingRows, Pictures]:
    """The same model and data for both jobs."""
    config = load_config(ROOT / job.config, job.overrides)
    model = make_model(config)
    side = model.vision.preprocess.size
    vocabulary = config.model.text.settings.vocab_size  # type: ignore[attr-defined]
    data = Pictures(job.batches * job.batch_size, side, vocabulary, job.length)
    tokenizer = Numbers()
    built = Built(config, model, tokenizer, {})
    return config, built, TrainingRows(data, tokenizer, 15), data


def plain(job: Job) -> Iterator[float]:
    """open_clip's way: the locked tower runs in eval mode without gradients, texts are padded."""
    config, built, rows, pictures = make(job)
    model = built.model
    stage = config.train.stages[0]  # type: ignore[union-attr]
    from engine.train.stages import freeze, named_parameters, rate_at

    freeze(model, stage.trains, "train.stages.0")
    optimizer = stage.optimizer.create().create(named_parameters(model, {}))
    locked = not any(p.requires_grad for p in model.vision.parameters())
    steps = 1000 * job.batches
    for step in range(steps):
        epoch, number = divmod(step, job.batches)
        seed = seed_of(config.seed, "order", 0, epoch)
        position = Epoch(epoch, 1000, len(rows), job.batch_size, seed)
        batch = stage.sampler.create().batches(position)[number]
        drawn = draws(seed_of(config.seed, "queries", 0, epoch), len(rows))
        torch.manual_seed(seed_of(config.seed, "step", 0, epoch, number, 0))
        pixels = to_batch(list(pictures.pixels[batch]), model.vision.preprocess)
        with torch.set_grad_enabled(not locked):
            state = model.vision({"pixels": pixels})
        image = functional.normalize(model.vision_projection(state)["embedding"], dim=-1)
        tokens = rows.table.padded(rows.sequence[rows.drawn(batch, drawn)], job.longest)
        text = model.encode_text(tokens["ids"], tokens["mask"])
        logits = model.logit_scale.exp() * image @ text.T
        right = torch.arange(len(batch))
        loss = functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)
        loss = loss / 2
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = stage.optimizer.settings.lr * rate_at(step, steps, 1000, stage.schedule)
        optimizer.step()
        yield float(loss.detach())


class Done(Exception):
    """Enough steps."""


def ours(job: Job, now: Callable[[], float]) -> None:
    """Engine's own loop, all that it does between two steps included."""
    _, built, rows, _ = make(job)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(built, rows, Path(folder))
        real, started, losses = trainer._step, 0.0, []

        def step(*arguments: Any) -> Any:
            nonlocal started
            if losses:
                tell(now() - started, losses[-1])
            if not sys.stdin.readline():
                raise Done
            started = now()
            measured = real(*arguments)
            losses.append(float(measured.loss))
            return measured

        trainer._step = step  # type: ignore[method-assign]
        try:
            trainer.run()
        except Done:
            return


def tell(seconds: float, loss: float) -> None:
    """One line about a step."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "loss": loss, "peak_mb": peak}), flush=True)


def main(kind: str, name: str, threads: str, size: str = "256", clock: str = "wall") -> None:
    """``ours stage1 2 256 wall``: kind, job, threads, rows of a batch, clock."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    torch.set_num_threads(int(threads))
    job = job_named(name, int(size))
    if kind == "ours":
        ours(job, now)
        return
    losses = plain(job)
    while sys.stdin.readline():
        started = now()
        loss = next(losses)
        tell(now() - started, loss)


if __name__ == "__main__":
    main(*sys.argv[1:])
