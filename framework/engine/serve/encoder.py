"""Texts, pictures and classes become vectors: batches, caches, deadlines."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from engine.contracts.preprocess import Pixels
from engine.evaluate.packed import PackedWeights
from engine.evaluate.predictor import Classifier
from engine.serve.batcher import Batcher, Vector
from engine.serve.decoding import Decoders
from engine.serve.faults import Fault
from engine.serve.metrics import Metrics
from engine.serve.settings import ServeSettings

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor
    from engine.evaluate.zero_shot import Probabilities

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A dictionary of the values that were used last.

    Args:
        size: how many are kept; 0: none.
    """

    def __init__(self, size: int) -> None:
        self._size, self._values = size, OrderedDict[Key, Value]()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Key) -> Value | None:
        """A value, which counts as used now."""
        found = self._values.get(key)
        if found is not None:
            self._values.move_to_end(key)
        return found

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, in the place of the one that was not used for longest."""
        if not self._size:
            return
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)


@dataclass(frozen=True)
class _Classes:
    """Classes whose vectors are computed, and what must be known of them."""

    classifier: Classifier
    notes: tuple[str, ...]


class Encoder:
    """A model behind batchers and caches.

    Args:
        predictor: the model.
        settings: sizes of batches and caches.
        metrics: what is counted.
    """

    def __init__(self, predictor: Predictor, settings: ServeSettings, metrics: Metrics) -> None:
        self.predictor, self._metrics = predictor, metrics
        self._texts: Recent[str, Vector] = Recent(settings.text_cache)
        self._classes: Recent[tuple[str, ...], _Classes] = Recent(settings.class_cache)
        self._making: dict[tuple[str, ...], asyncio.Task[_Classes]] = {}
        self._packed = PackedWeights()
        vision = predictor.model.vision
        self._decoders = Decoders(vision.preprocess, settings.max_pixels, settings.decoders)
        self.images: Batcher[Pixels] = Batcher(
            self._compute_images, settings.batch, metrics.batch("image")
        )
        self.texts: Batcher[str] = Batcher(
            self._compute_texts, settings.text_batch, metrics.batch("text")
        )

    async def start(self) -> None:
        """Start the threads and processes, and compute once, so that the first request is quick."""
        self.images.start()
        self.texts.start()
        side = int(self.predictor.model.vision.preprocess.size)
        black = np.zeros((side, side, 3), np.uint8)
        until = time.monotonic() + 600
        await asyncio.gather(
            self._decoders.start(),
            self.images.compute([black], until),
            self.texts.compute(["a"], until),
        )
        self._packed.page_out()

    async def stop(self) -> None:
        """Let go of the threads and processes."""
        await asyncio.gather(self.images.stop(), self.texts.stop())
        await asyncio.get_running_loop().run_in_executor(None, self._decoders.stop)

    def _compute_images(self, pixels: Sequence[Pixels]) -> Vector:
        with self._packed:
            rows: Vector = self.predictor.encode_pixels(pixels).numpy()
        return rows

    def _compute_texts(self, texts: Sequence[str]) -> Vector:
        """[N] texts -> [N, J + 1]: the vector, and how many tokens the text has.

        Both at once: a job of its own to count the tokens of each request would wait behind whole
        batches, in a thread that has better to do.
        """
        most = int(self.predictor.model.text.settings.max_tokens)
        with self._packed:
            rows = self.predictor.encode_texts(texts)
        counts = [len(row) for row in self.predictor.tokenizer.encode(texts, most + 1)]
        return np.concatenate([rows, np.array(counts, np.float32)[:, None]], axis=1)

    async def encode_images(
        self, files: Sequence[bytes | Fault], until: float
    ) -> list[Vector | Fault]:
        """[N] picture files -> N vectors [J] of length 1, or why one cannot be read.

        Raises:
            Fault: the deadline passed.
        """
        pixels = await asyncio.gather(*(self._pixels(data) for data in files))
        good = [each for each in pixels if not isinstance(each, Fault)]
        rows = iter(await self.images.compute(good, until))
        return [each if isinstance(each, Fault) else next(rows) for each in pixels]

    async def _pixels(self, data: bytes | Fault) -> Pixels | Fault:
        if isinstance(data, Fault):
            return data
        try:
            return await self._decoders.pixels(data)
        except Fault as fault:
            return fault

    async def encode_texts(self, texts: Sequence[str], until: float) -> Vector:
        """[N] texts -> [N, J] float32, rows of length 1; what is known is not computed again.

        Raises:
            Fault: the deadline passed.
        """
        return (await self.encode_and_count(texts, until))[0]

    async def encode_and_count(self, texts: Sequence[str], until: float) -> tuple[Vector, int, int]:
        """As :meth:`encode_texts`, with the tokens that the model reads of the texts.

        The last number says how many texts are longer than that.

        Raises:
            Fault: the deadline passed.
        """
        model = self.predictor.model
        if not texts:
            return np.empty((0, model.embed_dim), np.float32), 0, 0
        found = {text: self._texts.get(text) for text in dict.fromkeys(texts)}
        todo = [text for text, row in found.items() if row is None]
        self._metrics.cached("text", len(found) - len(todo), len(todo))
        if todo:
            for text, row in zip(todo, await self.texts.compute(todo, until), strict=True):
                found[text] = row
                self._texts.put(text, row)
        rows = np.stack([row for row in (found[text] for text in texts) if row is not None])
        counts, most = rows[:, -1].astype(np.int64), int(model.text.settings.max_tokens)
        return rows[:, :-1], int(np.minimum(counts, most).sum()), int((counts > most).sum())

    async def classify(
        self,
        files: Sequence[bytes | Fault],
        classes: Sequence[str],
        top: int,
        probabilities: Probabilities,
        until: float,
    ) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """The most probable classes of each picture, and what must be known of the classes.

        Raises:
            Fault: the deadline passed.
            EngineError: the model has no such probabilities.
        """
        self.predictor.check_probabilities(probabilities)
        known, rows = await asyncio.gather(
            self._known(tuple(classes)), self.encode_images(files, until)
        )
        found = []
        for index, row in enumerate(rows):
            if isinstance(row, Fault):
                found.append({"index": index, "answers": [], "error": row.message})
                continue
            vector = torch.from_numpy(row[None])
            chances, places = known.classifier.best(vector, top, probabilities)
            answers = [
                {"index": place, "name": classes[place], "probability": chance}
                for place, chance in zip(places[0].tolist(), chances[0].tolist(), strict=True)
            ]
            found.append({"index": index, "answers": answers, "error": None})
        return found, known.notes

    async def _known(self, classes: tuple[str, ...]) -> _Classes:
        """The vectors of classes: kept, or computed once for all that ask at the same time."""
        kept = self._classes.get(classes)
        self._metrics.cached("classes", int(kept is not None), int(kept is None))
        if kept is not None:
            return kept
        task = self._making.get(classes)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._make(classes))
            self._making[classes] = task
            task.add_done_callback(lambda _: self._making.pop(classes, None))
        return await asyncio.shield(task)

    async def _make(self, classes: tuple[str, ...]) -> _Classes:
        loop = asyncio.get_running_loop()
        made = await loop.run_in_executor(self.texts.thread, self._make_now, classes)
        self._classes.put(classes, made)
        return made

    def _make_now(self, classes: tuple[str, ...]) -> _Classes:
        with self._packed:
            vectors = self.predictor.class_vectors(classes)
        notes = self.predictor.notes_of(classes, vectors, refuse=False)
        return _Classes(Classifier(self.predictor, classes, vectors), tuple(notes))


def shorten(rows: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first numbers of each row, of length 1 again; ``None``: all of them."""
    if dimensions is None or dimensions >= rows.shape[1]:
        return rows
    cut = rows[:, :dimensions]
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return np.asarray(cut / np.where(lengths > 0, lengths, 1), np.float32)
