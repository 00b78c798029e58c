"""What the service answers at each path."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiohttp import web
from numpy.typing import NDArray

from engine.search.filters import make_filter
from engine.serve.admission import Admission
from engine.serve.batcher import Vector
from engine.serve.bodies import ClassifyRequest, EmbeddingsRequest, SearchRequest
from engine.serve.encoder import Encoder, shorten
from engine.serve.faults import Fault
from engine.serve.fetching import Fetching
from engine.serve.guard import COUNTS
from engine.serve.inputs import check_texts, is_data_uri, picture_files, read_body
from engine.serve.metrics import CONTENT_TYPE, Metrics
from engine.serve.pictures import Shelf
from engine.serve.settings import ServeSettings


class Routes:
    """The handlers.

    Args:
        encoder: the model.
        shelf: the index; ``None``: nothing can be searched.
        settings: limits.
        metrics: what is counted.

    Attributes:
        fetching: pictures by URL; ``None``: they are refused.
    """

    def __init__(
        self,
        encoder: Encoder,
        shelf: Shelf | None,
        settings: ServeSettings,
        metrics: Metrics,
    ) -> None:
        self._encoder, self._shelf, self._settings = encoder, shelf, settings
        self._metrics = metrics
        self.fetching: Fetching | None = None
        self._queue = Admission(settings.queue, "texts and pictures")
        metrics.waiting.set_function(lambda: self._queue.taken)
        predictor = encoder.predictor
        self.name = str(predictor.config.name)
        self._warnings = list(predictor.warnings)
        self._started = int(time.time())
        self._parameters = predictor.num_parameters

    def add_to(self, app: web.Application) -> None:
        """Register the paths."""
        app.router.add_post("/v1/embeddings", self.embeddings)
        app.router.add_post("/v1/classify", self.classify)
        app.router.add_post("/v1/search", self.search)
        app.router.add_get("/v1/models", self.models)
        app.router.add_get("/v1/models/{name}", self.model)
        app.router.add_get("/v1/pictures/{number}", self.picture)
        app.router.add_get("/metrics", self.metrics)

    def _until(self) -> float:
        return time.monotonic() + self._settings.deadline

    def _check_name(self, name: str | None) -> None:
        if name not in (None, "", self.name):
            raise Fault(404, f"the service has the model `{self.name}` and no other",
                        "model_not_found", param="model")  # fmt: skip

    async def embeddings(self, request: web.Request) -> web.Response:
        """Vectors of texts or pictures."""
        until = self._until()
        body = await read_body(request, EmbeddingsRequest, self._settings)
        self._check_name(body.model)
        items = [body.input] if isinstance(body.input, str) else body.input
        if len(items) > max(self._settings.max_texts, self._settings.max_images):
            raise Fault(400, f"{len(items):,} inputs are too many", "too_many", param="input")
        width = self._encoder.predictor.model.embed_dim
        if body.dimensions is not None and body.dimensions > width:
            raise Fault(400, f"the model's vectors have {width} numbers", "invalid",
                        param="dimensions")  # fmt: skip
        images = [is_data_uri(item) for item in items]
        texts = [item for item, image in zip(items, images, strict=True) if not image]
        check_texts(texts, self._settings, "input")
        files = await self._files(
            [item for item, image in zip(items, images, strict=True) if image], "input"
        )
        request[COUNTS] = {"texts": len(texts), "images": len(files)}
        with self._queue.take(len(items)):
            (of_texts, tokens, longer), of_images = await asyncio.gather(
                self._encoder.encode_and_count(texts, until),
                self._encoder.encode_images(files, until),
            )
        rows = np.empty((len(items), width), np.float32)
        rows[~np.array(images)] = of_texts
        if files:
            rows[np.array(images)] = np.stack(_all_read(of_images))
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _written(row, body.encoding_format),
            }
            for index, row in enumerate(shorten(rows, body.dimensions))
        ]
        warnings = [*self._warnings, *_longer(longer, self._encoder)]
        if body.dimensions is not None and body.dimensions < width:
            warnings.append(f"only the first {body.dimensions} of {width} numbers are given: unless"
                            " the model was trained for that, they are less exact")  # fmt: skip
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": self.name, "usage": usage,
                  "warnings": warnings}  # fmt: skip
        return web.Response(
            body=orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY),
            content_type="application/json", charset="utf-8",
        )  # fmt: skip

    async def classify(self, request: web.Request) -> web.Response:
        """Which classes pictures show."""
        until = self._until()
        body = await read_body(request, ClassifyRequest, self._settings)
        self._check_name(body.model)
        limit = self._settings.max_classes
        if len(body.classes) > limit:
            raise Fault(400, f"{len(body.classes):,} classes are more than the {limit:,} of a"
                        " request", "too_many", param="classes")  # fmt: skip
        classes = tuple(body.classes)
        if len(set(classes)) < len(classes):
            raise Fault(400, "a class name stands twice", "invalid", param="classes")
        for name in classes:
            check_texts([name], self._settings, "classes")
        files = await self._files(body.images, "images")
        request[COUNTS] = {"images": len(files), "classes": len(classes)}
        with self._queue.take(len(files)):
            data, notes = await self._encoder.classify(
                files, classes, body.top, body.probabilities, until
            )
        return web.json_response({"object": "list", "data": data, "model": self.name,
                                  "warnings": [*self._warnings, *notes]})  # fmt: skip

    async def search(self, request: web.Request) -> web.Response:
        """Pictures of the index by texts and pictures."""
        until = self._until()
        body = await read_body(request, SearchRequest, self._settings)
        self._check_name(body.model)
        shelf = self._open_shelf()
        if not body.texts and not body.images:
            raise Fault(400, "a text or a picture to search for is needed", "invalid",
                        param="texts")  # fmt: skip
        words = [*body.texts, *body.minus]
        check_texts(words, self._settings, "texts")
        if body.folder is not None and "\0" in body.folder:
            raise Fault(400, "a folder's name holds a null byte", "invalid", param="folder")
        folder = Path(body.folder) if body.folder else None
        only = make_filter(folder, body.after, body.before)
        files = await self._files(body.images, "images")
        request[COUNTS] = {"texts": len(words), "images": len(files), "top": body.top}
        with self._queue.take(len(words) + len(files)):
            of_texts, of_images = await asyncio.gather(
                self._encoder.encode_texts(words, until),
                self._encoder.encode_images(files, until),
            )
            query, problems = _query(of_texts, len(body.texts), of_images)
            hits = [] if query is None else await shelf.search(query, body.top, only)
        found = [{"id": hit.vector, **hit.to_json()} for hit in hits]
        return web.json_response({
            "object": "list", "data": found, "model": self.name, "problems": problems,
            "recall": shelf.index.recall, "warnings": self._warnings,
        })  # fmt: skip

    async def picture(self, request: web.Request) -> web.Response:
        """A small copy of a picture of the index."""
        shelf = self._open_shelf()
        text = request.match_info["number"]
        if not (text.isascii() and text.isdigit() and len(text) < 18):
            raise Fault(404, "there is no such picture", "not_found")
        data = await shelf.small(int(text))
        headers = {"Cache-Control": "private, max-age=3600"}
        return web.Response(body=data, content_type="image/jpeg", headers=headers)

    async def models(self, request: web.Request) -> web.Response:
        """The model."""
        return web.json_response({"object": "list", "data": [self._about()]})

    async def model(self, request: web.Request) -> web.Response:
        """One model by its name."""
        self._check_name(request.match_info["name"])
        return web.json_response(self._about())

    async def metrics(self, request: web.Request) -> web.Response:
        """Counters for Prometheus."""
        return web.Response(body=self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def _about(self) -> dict[str, Any]:
        return {
            "id": self.name, "object": "model", "created": self._started, "owned_by": "engine",
            "embed_dim": self._encoder.predictor.model.embed_dim, "parameters": self._parameters,
            "warnings": self._warnings,
            "index": None if self._shelf is None else len(self._shelf.index),
        }  # fmt: skip

    async def _files(self, pictures: Sequence[str], param: str) -> list[bytes | Fault]:
        return await picture_files(pictures, self._settings, self.fetching, param)

    def _open_shelf(self) -> Shelf:
        if self._shelf is None:
            raise Fault(404, "the service has no index: start it with --index", "no_index")
        return self._shelf


def _all_read(rows: Sequence[Vector | Fault]) -> list[Vector]:
    """The vectors, where every picture could be read.

    Raises:
        Fault: that of the first which could not.
    """
    for row in rows:
        if isinstance(row, Fault):
            raise row
    return [row for row in rows if not isinstance(row, Fault)]


def _written(row: NDArray[np.float32], form: str) -> NDArray[np.float32] | str:
    if form == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode("ascii")
    return np.ascontiguousarray(row)  # orjson writes the shortest digits of a float32


def _longer(count: int, encoder: Encoder) -> list[str]:
    most = encoder.predictor.model.text.settings.max_tokens
    if not count:
        return []
    return [f"{count} texts are longer than the {most} tokens that the model reads: their ends are"
            " not in their vectors"]  # fmt: skip


def _query(
    texts: Vector, plus: int, images: Sequence[Vector | Fault]
) -> tuple[Vector | None, list[str]]:
    """The vector to search for, or why there is none."""
    problems = [
        f"picture {place}: {row.message}" for place, row in enumerate(images)
        if isinstance(row, Fault)
    ]  # fmt: skip
    if problems:
        return None, problems
    query = texts[:plus].sum(axis=0) - texts[plus:].sum(axis=0)
    for row in _all_read(images):
        query = query + row
    if float(np.linalg.norm(query)) < 1e-6:
        return None, ["the texts with + and - cancel each other out: nothing is looked for"]
    return query, []
