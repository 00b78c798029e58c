"""Pictures are read, recognised by their bytes and decoded, by threads ahead of the model."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from PIL import Image

from engine.contracts.preprocess import Pixels, Preprocess, to_pixels
from engine.data.pictures import decode, formats
from engine.errors import BrokenImageError, PluginError
from engine.evaluate.images import available_cores
from engine.search.sources import SourceItem, read_item

REDUCED = 2
"""A JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter side
keeps this many times the model's."""

_TIME_IFD, _ORIGINAL, _CHANGED = 0x8769, 0x9003, 0x0132


@dataclass(frozen=True)
class ReadImage:
    """A picture that was read.

    Attributes:
        item: where it lies.
        digest: sha256 of its bytes; empty where there were none to read.
        taken: when it was taken, seconds since 1970.
        pixels: for the model; ``None`` where its vector is known, or it is broken.
        vector: the number of its vector, where that is known.
        problem: why it cannot be read; else empty.
        moment: when reading began, nanoseconds since 1970.
    """

    item: SourceItem
    digest: bytes
    taken: float
    pixels: Pixels | None
    vector: int | None
    problem: str
    moment: int


def read_ahead(
    items: Iterator[SourceItem],
    preprocess: Preprocess,
    known: Callable[[bytes], int | None],
    *,
    workers: int | None = None,
    reduced: bool = True,
) -> Iterator[ReadImage]:
    """Read pictures in order; at most four for each worker are held.

    Args:
        items: where they lie.
        preprocess: the vision tower's.
        known: gives the number of the vector of a digest, ``None`` where there is none; called
            from several threads.
        workers: threads; ``None``: one a core, at most 8.
        reduced: decode large JPEGs at a part of their size (:data:`REDUCED`).
    """
    workers = workers or min(8, available_cores())
    ahead: deque[Future[ReadImage]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="index")
    try:
        while True:
            more = islice(items, 4 * workers - len(ahead))
            ahead.extend(pool.submit(_read, item, preprocess, known, reduced) for item in more)
            if not ahead:
                return
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(
    item: SourceItem, preprocess: Preprocess, known: Callable[[bytes], int | None], reduced: bool
) -> ReadImage:
    moment = time.time_ns()
    taken, digest = item.mtime / 1e9, b""
    if item.problem:
        return ReadImage(item, digest, taken, None, None, item.problem, moment)
    try:
        data = read_item(item.path, item.start, item.size, item.member)
        digest = hashlib.sha256(data).digest()
        taken = time_of(data) or taken
        vector = known(digest)
        if vector is not None:
            return ReadImage(item, digest, taken, None, vector, "", moment)
        at_least = REDUCED * preprocess.size if reduced else None
        pixels = to_pixels(decode(data, at_least=at_least).image, preprocess)
    except BrokenImageError as error:
        return ReadImage(item, digest, taken, None, None, error.reason, moment)
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        return ReadImage(item, digest, taken, None, None, reason, moment)
    except PluginError:
        raise  # no picture would be right
    except Exception as error:  # a third party's preprocessing: one picture stops no run
        reason = f"{type(error).__name__}: {error}"
        return ReadImage(item, digest, taken, None, None, reason, moment)
    return ReadImage(item, digest, taken, pixels, None, "", moment)


def time_of(data: bytes) -> float | None:
    """When a picture was taken by its EXIF, as local time; ``None`` where that says nothing."""
    if b"Exif" not in data[: 1 << 16] and b"eXIf" not in data[: 1 << 16]:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            exif = image.getexif()
            found = exif.get_ifd(_TIME_IFD).get(_ORIGINAL) or exif.get(_CHANGED)
        return datetime.strptime(str(found).strip("\0 "), "%Y:%m:%d %H:%M:%S").timestamp()
    except Exception:  # damaged EXIF in a sound picture: the file's time counts
        return None


def settled(item: SourceItem, moment: int) -> int:
    """The time of change to keep, in nanoseconds; -1 where it proves nothing.

    So it is for a file that was changed so shortly before it was read that another change might
    leave the time as it is.
    """
    return item.mtime if moment - item.mtime > 2_000_000_000 and os.name == "posix" else -1
