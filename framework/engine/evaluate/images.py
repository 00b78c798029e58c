"""Images: pictures become a vision tower's pixels, read ahead by threads.

Threads, not processes: Pillow decodes and scales without the interpreter's lock. On two cores and
the 570 photographs of the contest's sample two threads take 58 % of one's time, forked processes
64 % (and forking beside PyTorch's threads is risky), fresh processes six times as long as one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from PIL import Image

from engine.contracts.dataset import Record
from engine.contracts.preprocess import Pixels, Preprocess, to_pixels
from engine.data.pictures import rgb
from engine.errors import BrokenImageError, PluginError


class ImageRows(Protocol):
    """What is read: rows with an image each. Every Dataset is this."""

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Id, class and texts of a row."""

    def image(self, index: int) -> Image.Image:
        """The picture of a row; raises BrokenImageError where it cannot be read."""


@dataclass(frozen=True)
class Read:
    """An image that was read: its row, its record, its pixels."""

    index: int
    record: Record
    pixels: Pixels


@dataclass(frozen=True)
class Broken:
    """An image that could not be read.

    Attributes:
        index: its row.
        id: its name within the data set.
        reason: why, in one line.
    """

    index: int
    id: str
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Consecutive rows of a data set: those that were read, in order, and those that were not."""

    read: list[Read] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.read) + len(self.broken)


def read_batches(
    rows: ImageRows,
    preprocess: Preprocess,
    *,
    batch_size: int = 16,
    workers: int | None = None,
    limit: int | None = None,
) -> Iterator[ImageBatch]:
    """Read, cut and scale a data set's images in order, ahead of the model.

    At most two batches (or two images a worker) are held, whatever the data set's size. Leaving
    the loop early, by Ctrl-C too, drops what was queued and waits only for the images in work.

    Args:
        rows: the data set; its ``image`` is called from several threads at once.
        preprocess: the vision tower's.
        batch_size: rows a batch.
        workers: threads; ``None``: one a core, at most 8.
        limit: only the first so many rows.

    Yields:
        Batches of ``batch_size`` rows, the last one shorter; broken images count as rows.
    """
    workers = workers or min(8, available_cores())
    count = len(rows) if limit is None else min(limit, len(rows))
    todo = iter(range(count))
    ahead: deque[Future[Read | Broken]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")

    def submit(more: int) -> None:
        ahead.extend(pool.submit(_read, rows, index, preprocess) for index in islice(todo, more))

    try:
        submit(max(2 * batch_size, 2 * workers))
        while ahead:
            batch = ImageBatch()
            for _ in range(min(batch_size, len(ahead))):
                found = ahead.popleft().result()
                submit(1)
                if isinstance(found, Broken):
                    batch.broken.append(found)
                else:
                    batch.read.append(found)
            yield batch
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(rows: ImageRows, index: int, preprocess: Preprocess) -> Read | Broken:
    record = rows.record(index)
    try:
        return Read(index, record, to_pixels(rgb(rows.image(index)), preprocess))
    except BrokenImageError as error:
        return Broken(index, record.id, error.reason)
    except PluginError:
        raise  # no picture would be right
    except Exception as error:  # a third party's reader or decoder: one image stops no run
        return Broken(index, record.id, f"{type(error).__name__}: {error}")


def available_cores() -> int:
    """Cores that this process may use (a container often allows fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
