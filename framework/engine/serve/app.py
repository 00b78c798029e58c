"""The service as an application of aiohttp: paths, what guards them, what starts and ends."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import TYPE_CHECKING

from aiohttp import web
from markupsafe import Markup

from engine.report import render
from engine.serve.encoder import Encoder
from engine.serve.faults import Fault
from engine.serve.fetching import Fetching
from engine.serve.guard import RequestGuard
from engine.serve.metrics import Metrics
from engine.serve.openapi import describe
from engine.serve.pictures import Shelf
from engine.serve.routes import Routes
from engine.serve.settings import ServeSettings

if TYPE_CHECKING:
    from engine.evaluate.predictor import Predictor
    from engine.search.index import SearchIndex

GUARD: web.AppKey[RequestGuard] = web.AppKey("guard", RequestGuard)


def make_app(
    predictor: Predictor, index: SearchIndex | None = None, settings: ServeSettings | None = None
) -> web.Application:
    """The service of a model.

    Args:
        predictor: the model.
        index: pictures to be searched, made with the same model; ``None``: no search.
        settings: limits and addresses.

    Raises:
        DataError: the index was made with another model.
    """
    settings = settings or ServeSettings()
    if index is not None:
        from engine.search.identity import check_model

        check_model(index.catalogue, predictor, index.folder)
    metrics = Metrics()
    guard = RequestGuard(settings, metrics)
    app = web.Application(
        middlewares=[guard.middleware], client_max_size=settings.max_body,
        handler_args={"max_line_size": 8190, "max_field_size": 8190,
                      "auto_decompress": False},
    )  # fmt: skip
    app[GUARD] = guard
    encoder = Encoder(predictor, settings, metrics)
    shelf = None if index is None else Shelf(index)
    ready: list[bool] = []

    async def running(app: web.Application) -> AsyncIterator[None]:
        fetching = None
        if settings.fetch_urls:
            fetching = Fetching(settings.max_image_bytes, settings.deadline / 2)
            await fetching.start()
        routes.fetching = fetching
        await encoder.start()
        ready.append(True)
        yield
        ready.clear()
        await encoder.stop()
        if shelf is not None:
            shelf.stop()
        if fetching is not None:
            await fetching.stop()

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def is_ready(request: web.Request) -> web.Response:
        if not ready or guard.ending:
            raise Fault(503, "the service is ending" if ready else "it is starting", "not_ready")
        return web.json_response({"status": "ready"})

    description = describe(
        settings, predictor.model.embed_dim, sigmoid=predictor.model.logit_bias is not None
    )

    async def openapi(request: web.Request) -> web.Response:
        return web.json_response(description)

    routes = Routes(encoder, shelf, settings, metrics)
    routes.add_to(app)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", is_ready)
    app.router.add_get("/openapi.json", openapi)
    app.router.add_get("/", page_of(predictor, index, settings))
    app.cleanup_ctx.append(running)
    return app


def page_of(
    predictor: Predictor, index: SearchIndex | None, settings: ServeSettings
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of the page at ``/``: one document that asks for nothing but this service."""
    script = (files(__package__) / "templates" / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = ("default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline';"
              f" connect-src 'self'; script-src 'sha256-{digest}'; base-uri 'none';"
              " form-action 'none'; frame-ancestors 'none'")  # fmt: skip
    text = render(
        "engine.serve/page.html",
        title=f"{predictor.config.name}: classify and search",
        kind="an image-text model",
        name=str(predictor.config.name),
        warnings=predictor.warnings,
        script=Markup(script),
        searching=index is not None,
        pictures=0 if index is None else len(index),
        keys=bool(settings.api_keys),
        most=settings.max_image_bytes,
    )

    async def page(request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    return page
