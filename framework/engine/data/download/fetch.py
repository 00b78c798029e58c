"""One request: a body, a redirect, or a failure of a known kind."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from engine.data.download.addresses import NOT_PUBLIC, Resolver, socket_maker
from engine.data.download.headers import forbids, packing_of, robot_names, seconds_to_wait
from engine.data.download.heads import MAX_BYTES, Heads, HeadTooLongError
from engine.data.download.outcome import Cause, Refusal
from engine.data.download.settings import DownloadSettings
from engine.data.download.urls import parse

_ACCEPT = "image/webp,image/png,image/jpeg,image/*;q=0.8,*/*;q=0.5"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BUSY = frozenset({429, 503})
_LARGE = 2_000_000
"""Bytes of a body from which on only a few go on at once, so that memory stays bounded."""

_LARGE_AT_ONCE = 8


@dataclass(frozen=True)
class Body:
    """A whole body as it came. ``packing``: see :func:`~.headers.packing_of`; 0 as it is."""

    data: bytes
    packing: int = 0


@dataclass(frozen=True)
class Redirect:
    """Where else to look."""

    url: URL


class _Handler(ResponseHandler):
    """aiohttp's end of a connection, which reads heads as browsers do."""

    def set_response_params(self, **params: Any) -> None:
        self._heads = Heads()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        heads = getattr(self, "_heads", None)
        if heads is None or not data:
            super().data_received(data)
            return
        try:
            ready = heads.feed(data)
        except HeadTooLongError as error:
            if self.transport is not None:
                self.transport.close()
            self.set_exception(HttpProcessingError(message=str(error)))
            return
        if heads.mended:
            self.force_close()
        if ready:
            super().data_received(ready)

    def connection_lost(self, exc: BaseException | None) -> None:
        heads = getattr(self, "_heads", None)
        if heads is not None and (rest := heads.rest()):
            super().data_received(rest)
        super().connection_lost(exc)


class _Connector(aiohttp.TCPConnector):
    """Connections of :class:`_Handler`."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        loop = asyncio.get_running_loop()
        self._factory = functools.partial(cast("type[ResponseHandler]", _Handler), loop=loop)


class Fetcher:
    """Makes requests over one pool of connections. Use as an asynchronous context."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._names = robot_names(settings.user_agent)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        settings = self._settings
        connector = _Connector(
            limit=0,  # the scheduler limits, over all and a host
            resolver=Resolver(),
            ttl_dns_cache=300,
            keepalive_timeout=3,  # most hosts are asked once: idle sockets must not pile up
            socket_factory=socket_maker(settings.allow_private),
            ssl=bool(settings.verify_tls),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": settings.user_agent,
                "Accept": _ACCEPT,
                "Accept-Encoding": "identity",
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
            auto_decompress=False,
            max_line_size=MAX_BYTES,
            max_field_size=MAX_BYTES,
            max_headers=MAX_BYTES,
            read_bufsize=1 << 18,
            trust_env=settings.proxy,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: URL, seconds: float) -> Body | Redirect | Refusal:
        """Ask for a URL; raises nothing but cancellation."""
        assert self._session is not None
        try:
            async with asyncio.timeout(seconds):
                response = await self._session.get(url, allow_redirects=False)
                try:
                    return await self._read(response, url)
                finally:
                    # Closes the connection, too, where the body was not read to its end.
                    response.release()
        except TimeoutError:
            return Refusal(Cause.TIMEOUT, may_pass=True)
        except Exception as error:
            return _explained(error)

    async def _read(self, response: aiohttp.ClientResponse, url: URL) -> Body | Redirect | Refusal:
        status, headers = response.status, response.headers
        if status in _REDIRECTS and "Location" in headers:
            target = parse(headers["Location"], url)
            return Redirect(target) if isinstance(target, URL) else target
        if status not in (200, 203):
            return _refused(status, headers.get("Retry-After"))
        robots = headers.getall("X-Robots-Tag", [])
        if self._settings.robots_tag and forbids(robots, self._names):
            return Refusal(Cause.ROBOTS, "; ".join(robots)[:80])
        packing = packing_of(headers.getall("Content-Encoding", []))
        if isinstance(packing, str):
            return Refusal(Cause.ENCODING, f"Content-Encoding: {packing}")
        length = response.content_length
        if length is not None and length > self._settings.max_bytes:
            return Refusal(Cause.TOO_LARGE, f"{length:,} bytes")
        body = await self._body(response.content)
        return Body(body, packing) if isinstance(body, bytes) else body

    async def _body(self, content: aiohttp.StreamReader) -> bytes | Refusal:
        pieces: list[bytes] = []
        size, start, large = 0, time.monotonic(), False
        settings = self._settings
        try:
            async for piece in content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > settings.max_bytes:
                    return Refusal(Cause.TOO_LARGE, f"over {settings.max_bytes:,} bytes")
                spent = time.monotonic() - start
                if spent > settings.slow_after and size < settings.min_rate * spent:
                    return Refusal(Cause.SLOW, f"{size / spent:,.0f} bytes/s", may_pass=True)
                if size > _LARGE and not large:
                    waited = time.monotonic()
                    await self._large.acquire()
                    large = True
                    start += time.monotonic() - waited
        finally:
            if large:
                self._large.release()
        return b"".join(pieces)


def _refused(status: int, retry_after: str | None) -> Refusal:
    """What a status other than success says."""
    may_pass, busy = status in _MAY_PASS, status in _BUSY
    return Refusal(
        Cause.http(status),
        may_pass=may_pass,
        retry_after=seconds_to_wait(retry_after or "") if may_pass else 0.0,
        busy=busy,
        free=busy and (status == 429 or retry_after is not None),
    )


def _explained(error: Exception) -> Refusal:
    """What went wrong with a connection, and whether it may pass."""
    # The text of an answer that could not be read, without the URL that aiohttp adds to it.
    message = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    text = message[:200]
    cause = getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        number = getattr(cause, "errno", None)
        return Refusal(Cause.NAME, "", may_pass=number == socket.EAI_AGAIN)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Refusal(Cause.TLS, text)
    if isinstance(error, aiohttp.ClientConnectorError):
        if NOT_PUBLIC in str(cause):
            return Refusal(Cause.PRIVATE, str(getattr(cause, "strerror", None) or cause)[:200])
        number = getattr(cause, "errno", None)
        return Refusal(Cause.CONNECT, errno.errorcode.get(number or 0, ""), may_pass=True)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Refusal(Cause.BAD_URL, type(error).__name__)
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientConnectionError | OSError):
        return Refusal(Cause.BROKE, type(error).__name__, may_pass=True)
    return Refusal(Cause.PROTOCOL, f"{type(error).__name__}: {text}")
