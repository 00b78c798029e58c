"""What every request passes: who may call, from which page, how much at once; its line of log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from engine.errors import EngineError
from engine.printable import one_line
from engine.serve.admission import Admission
from engine.serve.faults import Fault
from engine.serve.metrics import Metrics
from engine.serve.settings import ServeSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN = frozenset({"/", "/health", "/ready", "/openapi.json"})
"""What is answered without a key: nothing in it comes from the model or the index."""

COUNTS: web.RequestKey[dict[str, int]] = web.RequestKey("counts", dict)
"""How many texts and pictures a request has; logged."""

_log = logging.getLogger("engine.serve")
_METHODS = "GET, POST, OPTIONS"


class RequestGuard:
    """The middleware of the service.

    Args:
        settings: who may call.
        metrics: what is counted.

    Attributes:
        ending: the service takes no new requests.
    """

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._keys = [hashlib.sha256(key.encode()).digest() for key in settings.api_keys]
        self._bytes = Admission(settings.bytes_in_flight, "bytes of requests")
        self._requests = Admission(settings.connections, "requests")
        self._names = _names(settings)
        self.ending = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, whatever happens, and write its line of log."""
        started, number = time.monotonic(), uuid.uuid4().hex[:16]
        try:
            response = await self._guarded(request, handler)
        except Fault as fault:
            response = fault.response()
        except web.HTTPException as error:
            response = _plain(error)
        except EngineError as error:
            response = Fault(400, error.message[:500], "invalid").response()
        except (asyncio.CancelledError, ConnectionError):
            self._record(request, number, 499, started)
            raise
        except Exception as error:
            _log.exception("request %s failed: %s", number, type(error).__name__)
            response = Fault(500, "the service failed; its log says why", "internal").response()
        self._dress(request, response, number)
        self._record(request, number, response.status, started)
        return response

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._check_host(request)
        self._check_origin(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204)
        if request.path not in OPEN:
            self._check_key(request)
        length = request.content_length
        if length is not None and length > self._settings.max_body:
            raise Fault(413, f"the body has more than {self._settings.max_body:,} bytes",
                        "too_large")  # fmt: skip
        expected = self._settings.max_body if length is None and request.can_read_body else length
        with self._requests.take(1), self._bytes.take(expected or 0):
            return await handler(request)

    def _check_key(self, request: web.Request) -> None:
        if not self._keys:
            return
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        # Every key is compared, so that the time says nothing of which one was nearest.
        matches = [hmac.compare_digest(digest, key) for key in self._keys]
        if kind.lower() != "bearer" or not any(matches):
            raise Fault(401, "a valid API key is needed: Authorization: Bearer KEY", "api_key")

    def _check_host(self, request: web.Request) -> None:
        """A page elsewhere must not reach this machine's service by a name of its own."""
        if self._names is None:
            return
        name = _host_of(request.headers.get("Host", ""))
        if name not in self._names:
            raise Fault(421, f"this service is not called `{one_line(name, 60)}`", "host")

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is None or self._is_own(request, origin) or self._allows(origin):
            return
        raise Fault(403, "pages of this origin may not call the service", "origin")

    def _is_own(self, request: web.Request, origin: str) -> bool:
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()

    def _allows(self, origin: str) -> bool:
        return origin in self._settings.origins or "*" in self._settings.origins

    def _dress(self, request: web.Request, response: web.StreamResponse, number: str) -> None:
        headers = response.headers
        headers["X-Request-Id"] = number
        headers["Server"] = "engine"
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Cache-Control", "no-store")
        origin = request.headers.get("Origin")
        if origin is not None and self._allows(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Vary"] = "Origin"
            headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
            headers["Access-Control-Allow-Methods"] = _METHODS
            headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-Id"
        if self.ending or response.status in (408, 413):
            response.force_close()

    def _record(self, request: web.Request, number: str, status: int, started: float) -> None:
        route = route_of(request)
        seconds = time.monotonic() - started
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        write_log(
            event="request", id=number, method=one_line(request.method, 16), route=route,
            status=status, ms=round(1000 * seconds, 1), bytes=request.content_length,
            **request.get(COUNTS, {}),
        )  # fmt: skip


def route_of(request: web.Request) -> str:
    """The route of a request, without what a client wrote: the log and the metrics hold no data."""
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical


def write_log(**facts: Any) -> None:
    """One line of JSON on stderr. Never a payload: no text, no picture, no query, no key."""
    line = {"time": round(time.time(), 3), **{k: v for k, v in facts.items() if v is not None}}
    print(json.dumps(line, ensure_ascii=True), file=sys.stderr, flush=True)


def _plain(error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in the same shape."""
    codes = {404: "not_found", 405: "method", 413: "too_large"}
    words = {404: "there is nothing at this path", 405: "this path does not take this method"}
    message = words.get(error.status, error.reason)
    response = Fault(error.status, message, codes.get(error.status, "http")).response()
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _names(settings: ServeSettings) -> frozenset[str] | None:
    """The names by which the service may be called; ``None``: any."""
    if settings.hosts:
        return frozenset(name.lower() for name in settings.hosts)
    try:
        local = ip_address(settings.host).is_loopback
    except ValueError:
        local = settings.host.lower() == "localhost"
    return frozenset({"localhost", "127.0.0.1", "::1", settings.host.lower()}) if local else None


def _host_of(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if ":" in header else header.lower()
