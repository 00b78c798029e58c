"""How fast a model is: in a fresh process, with nothing else running beside it."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable

from engine.bench.job import Job
from engine.bench.results import Speed

BATCHES = (1, 4, 16, 64)
"""Sizes among which the best one is looked for."""

SECONDS = 0.6
"""That each size is measured for, at least three times."""

NAMES = (
    "кошка", "грузовик", "ваза с цветами", "дорожный знак", "яблоко", "старый дом у реки",
    "самолёт", "рукописная цифра",
)  # fmt: skip


def measure_speed(job: Job) -> Speed:
    """Load the model, answer alone and in batches.

    Pictures are noise (a tower's time does not depend on what they show), texts are
    :data:`NAMES` with numbers, no two alike.
    """
    started = time.perf_counter()
    import torch

    from engine.evaluate.loading import load

    torch.set_num_threads(job.threads)
    predictor = load(job.model, device=job.device or "cpu", backend=job.backend)
    loaded = time.perf_counter() - started

    import numpy as np

    side = predictor.model.vision.preprocess.size
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(max(BATCHES))]
    counted = 0

    def texts(count: int) -> None:
        nonlocal counted
        predictor.encode_texts(
            [f"{NAMES[(counted + i) % len(NAMES)]} {counted + i}" for i in range(count)]
        )
        counted += count

    def images(count: int) -> None:
        predictor.encode_pixels(pixels[:count])

    image = {size: _seconds(lambda size=size: images(size)) for size in BATCHES}  # type: ignore[misc]
    text = {size: _seconds(lambda size=size: texts(size)) for size in BATCHES}  # type: ignore[misc]
    best_image = min(BATCHES, key=lambda size: image[size] / size)
    best_text = min(BATCHES, key=lambda size: text[size] / size)
    return Speed(
        load_seconds=loaded,
        image_ms=1000 * image[1],
        text_ms=1000 * text[1],
        images_per_second=best_image / image[best_image],
        image_batch=best_image,
        texts_per_second=best_text / text[best_text],
        text_batch=best_text,
        peak_mb=peak_mb(),
        threads=job.threads,
    )


def _seconds(work: Callable[[], None]) -> float:
    """Median seconds of a call, the first one left out."""
    work()
    found: list[float] = []
    while len(found) < 3 or (sum(found) < SECONDS and len(found) < 200):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def peak_mb() -> float:
    """Most memory of this process so far, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
