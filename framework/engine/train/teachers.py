"""What teachers give for the training data: once for each distinct input, kept in the cache."""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.cache.budget import Budget
from engine.cache.entry import Entry
from engine.cache.key import item_key
from engine.cache.store import ActivationCache
from engine.contracts.settings import PluginRef
from engine.contracts.teacher import Teacher, TeacherSettings
from engine.contracts.training import Rows
from engine.data.pictures import rgb
from engine.errors import BrokenImageError, ConfigError, DataError, PluginError
from engine.prepare.chunks import texts_of
from engine.train.data import TrainingRows
from engine.train.distribution import Processes
from engine.train.entries import read_by
from engine.train.parts import CacheParts, TeacherRefs
from engine.train.plan import StagePlan, make_losses

Note = Callable[[str], None]

_TEXTS_AT_ONCE = 512
_MAX_TEXTS_AT_ONCE = 16_384
_IMAGES_AT_ONCE = 32
_SECONDS = 5.0
"""About so long a teacher is asked before its answers are kept: a stop loses no more. The more
texts it is asked at once, the more of them have one length and need no padding."""


class Targets:
    """The vectors of one teacher for one modality, and which of them belong to a row or a text.

    Attributes:
        vectors: [distinct, width] float32.
        first: [items + 1] int64, where the vectors of each item begin in ``places``.
        places: [...] int64, rows of ``vectors``.
        weights: [...] float32, of each place.
        by_text: an item is a text of the data (``TrainingRows.sequence``); else a usable row.
    """

    def __init__(
        self,
        vectors: NDArray[np.float32],
        first: Rows,
        places: Rows,
        weights: NDArray[np.float32],
        *,
        by_text: bool,
    ) -> None:
        self.vectors, self.first, self.places = vectors, first, places
        self.weights, self.by_text = weights, by_text

    def rows(self, rows: Rows, texts: Rows, counts: Rows) -> NDArray[np.float32]:
        """The targets of a batch, [B, width]: weighted means where a row has several vectors.

        Args:
            rows: [B] usable rows.
            texts: [T] numbers of the texts that are read.
            counts: [B] texts of each row.
        """
        if not self.by_text:
            return self._means(rows)
        found = self._means(texts)
        if len(counts) == len(texts):
            return found
        starts = np.cumsum(counts) - counts
        return (np.add.reduceat(found, starts, axis=0) / counts[:, None]).astype(np.float32)

    def _means(self, items: Rows) -> NDArray[np.float32]:
        counts = self.first[items + 1] - self.first[items]
        starts = np.cumsum(counts) - counts
        inside = np.arange(counts.sum()) - np.repeat(starts, counts)
        places = np.repeat(self.first[items], counts) + inside
        weights = self.weights[places][:, None]
        found: NDArray[np.float32] = self.vectors[self.places[places]]
        if len(places) == len(items):
            return found
        sums = np.add.reduceat(found * weights, starts, axis=0)
        return (sums / np.add.reduceat(weights, starts, axis=0)).astype(np.float32)


class TeacherOutputs:
    """What all teachers of a run give, by the names that losses read.

    Args:
        teachers: by name.
        data: the training data.
        cache: where their outputs are kept.
    """

    def __init__(self, teachers: TeacherRefs, data: TrainingRows, cache: CacheParts) -> None:
        self._teachers, self._data, self._cache = teachers, data, cache
        self._targets: dict[str, Targets] = {}

    def compute(self, plans: Sequence[StagePlan], processes: Processes, note: Note) -> None:
        """Ask the teachers, or the cache; the first process before the others.

        Args:
            plans: the stages; what none of their losses reads is not computed.
            processes: that train together.
            note: tells how it goes.

        Raises:
            ConfigError: a teacher does not give what a loss reads, or the data have no images for
                it.
        """
        if not self._teachers:
            return
        with torch.random.fork_rng(devices=[]):
            losses = [loss for plan in plans for loss in make_losses(plan.settings).values()]
        needed = read_by(losses)
        if not processes.main:
            processes.barrier()
        self._compute(needed, Budget(self._cache.folder, self._cache.budget), note)
        if processes.main:
            processes.barrier()

    def _compute(self, needed: frozenset[str], budget: Budget, note: Note) -> None:
        data = self._data
        for name, ref in self._teachers.items():
            modalities = [m for m in ("text", "image") if f"teacher.{name}.{m}" in needed]
            if not modalities:
                continue
            teacher = ref.create()
            for modality in modalities:
                _check(teacher, name, modality, data)
                cache = _open_cache(name, ref, teacher, modality, budget)
                make = _text_targets if modality == "text" else _image_targets
                with cache:
                    self._targets[f"teacher.{name}.{modality}"] = make(
                        name, teacher, ref.settings, data, cache, note
                    )

    @property
    def names(self) -> frozenset[str]:
        """The entries that there are."""
        return frozenset(self._targets)

    def given(self, rows: Rows, texts: Rows, counts: Rows) -> dict[str, NDArray[Any]]:
        """The entries of a batch, [B, width] float32 each; see :meth:`Targets.rows`."""
        return {name: one.rows(rows, texts, counts) for name, one in self._targets.items()}


def _check(teacher: Teacher, name: str, modality: str, data: TrainingRows) -> None:
    if modality not in teacher.gives:
        raise ConfigError(
            f"train.teachers.{name}: `{type(teacher).__name__}` gives"
            f" {' and '.join(sorted(teacher.gives))} alone, and a loss reads"
            f" `teacher.{name}.{modality}`"
        )
    if modality == "image" and (not data.dataset.has_images or data.dataset.activations):
        raise ConfigError(
            f"train.teachers.{name}: a loss reads `teacher.{name}.image`, and the training data"
            f" (`{data.dataset.name}`) have no images"
        )


def _open_cache(
    name: str, ref: PluginRef, teacher: Teacher, modality: str, budget: Budget
) -> ActivationCache:
    target = type(teacher)
    about = json.dumps(
        [f"{target.__module__}.{target.__qualname__}", teacher.identity(), modality, teacher.width]
    )
    key = hashlib.sha256(about.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    entry = Entry(f"teacher.{modality}", (teacher.width,), False, "float32")
    details = {"teacher": ref.name, "modality": modality}
    return ActivationCache(budget.folder / f"teacher-{key}", [entry], budget, details)


def _text_targets(
    name: str,
    teacher: Teacher,
    settings: TeacherSettings,
    data: TrainingRows,
    cache: ActivationCache,
    note: Note,
) -> Targets:
    first, places, weights = array("q", [0]), array("q"), array("f")
    number: dict[str, int] = {}
    for row in data.rows.tolist():
        for some in _read(data, row, settings.language):
            for text, weight in some:
                places.append(number.setdefault(text, len(number)))
                weights.append(weight)
            first.append(len(places))
    texts = list(number)
    keys = [_key(text) for text in texts]
    vectors = np.empty((len(texts), teacher.width), np.float32)
    missing = _from_cache(vectors, keys, cache)
    missing.sort(key=lambda i: len(texts[i]))  # a batch of like length has little padding
    done, size = 0, _TEXTS_AT_ONCE
    while done < len(missing):
        some_rows, started = missing[done : done + size], time.monotonic()
        found = teacher.encode_texts([texts[i] for i in some_rows])
        _take(vectors, some_rows, found, name)
        cache.write({keys[i]: _bytes(vectors[i]) for i in some_rows})
        done += len(some_rows)
        if time.monotonic() - started < _SECONDS / 2:
            size = min(2 * size, _MAX_TEXTS_AT_ONCE)
        if done == len(missing) or size == len(some_rows):
            note(f"teacher {name}: {done:,} of {len(missing):,} texts")
    return Targets(
        vectors,
        np.asarray(first, dtype=np.int64),
        np.asarray(places, dtype=np.int64),
        np.asarray(weights, dtype=np.float32),
        by_text=settings.language is None,
    )


def _read(
    data: TrainingRows, row: int, language: str | None
) -> Iterator[Sequence[tuple[str, float]]]:
    """What a teacher reads of a row: all texts in its language together, else each by itself."""
    record = data.dataset.record(row)
    if language is not None:
        yield record.texts_in(language)
        return
    for text in texts_of(data.dataset, record, data.languages):
        yield [(text, 1.0)]


def _image_targets(
    name: str,
    teacher: Teacher,
    settings: TeacherSettings,
    data: TrainingRows,
    cache: ActivationCache,
    note: Note,
) -> Targets:
    """One vector a row; the image of a row that cannot be read gets zeros, and is not used."""
    count = len(data)
    vectors = np.zeros((count, teacher.width), np.float32)
    for done, rows in _batches(list(range(count)), _IMAGES_AT_ONCE):
        images = {}
        for row in rows:
            try:
                images[row] = rgb(data.dataset.image(int(data.rows[row])))
            except BrokenImageError:  # the step leaves such a row out
                continue
        keys = {row: item_key(np.asarray(image)) for row, image in images.items()}
        known = cache.read(keys.values())
        missing = [row for row, key in keys.items() if key not in known]
        for row, key in keys.items():
            if key in known:
                vectors[row] = known[key].view(np.float32)
        if missing:
            _take(vectors, missing, teacher.encode_images([images[row] for row in missing]), name)
            cache.write({keys[row]: _bytes(vectors[row]) for row in missing})
        if missing and (done == count or done % 1024 == 0):
            note(f"teacher {name}: {done:,} of {count:,} images")
    rows_of = np.arange(count + 1, dtype=np.int64)
    return Targets(vectors, rows_of, rows_of[:-1], np.ones(count, np.float32), by_text=False)


def _from_cache(
    vectors: NDArray[np.float32], keys: Sequence[bytes], cache: ActivationCache
) -> list[int]:
    """Fill in what is kept; the rows that are not."""
    missing = []
    for _, rows in _batches(list(range(len(keys))), _MAX_TEXTS_AT_ONCE):
        found = cache.read([keys[i] for i in rows])
        for i in rows:
            item = found.get(keys[i])
            if item is None or len(item) != vectors[i].nbytes:
                missing.append(i)
            else:
                vectors[i] = item.view(np.float32)
    return missing


def _batches(rows: Sequence[int], size: int) -> Iterator[tuple[int, Sequence[int]]]:
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        yield start + len(some), some


def _take(vectors: NDArray[np.float32], rows: Sequence[int], found: object, name: str) -> None:
    """Put a teacher's answer in its place.

    Raises:
        PluginError: it is not of the shape or type that the contract says.
        DataError: a number is not finite.
    """
    shape = (len(rows), vectors.shape[1])
    if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.float32:
        raise PluginError(
            f"the teacher `{name}` gives {getattr(found, 'shape', type(found).__name__)}"
            f" {getattr(found, 'dtype', '')}; expected {shape} float32"
        )
    if not np.isfinite(found).all():
        raise DataError(f"the teacher `{name}` gives numbers that are not finite")
    vectors[rows] = found


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _bytes(vector: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(vector).view(np.uint8)
