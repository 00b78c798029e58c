"""One request: a body, a redirect, or a failure of a known kind."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from engine.data.download.addresses import NOT_PUBLIC, Resolver, socket_maker
from engine.data.download.outcome import Failure, Kind
from engine.data.download.settings import DownloadSettings

_ACCEPT = "image/webp,image/png,image/jpeg,image/*;q=0.8,*/*;q=0.5"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_FORBIDDING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_PACKINGS = {"gzip": 1, "x-gzip": 1, "deflate": 2}
_LARGE = 2_000_000
"""Bytes of a body from which on only a few go on at once, so that memory stays bounded."""

_LARGE_AT_ONCE = 8


@dataclass(frozen=True)
class Body:
    """A whole body as it came. ``packing``: 0 as it is, 1 gzip, 2 deflate."""

    data: bytes
    packing: int = 0


@dataclass(frozen=True)
class Redirect:
    """Where else to look."""

    url: URL


def parse(url: str, base: URL | None = None) -> URL | Failure:
    """An address as text, maybe relative to ``base``; only http and https with a host pass."""
    try:
        found = URL(url.strip())
        if base is not None:
            found = base.join(found)
        host = found.host
        port = found.port
    except (ValueError, TypeError) as error:
        return Failure(Kind.BAD_URL, f"{error}")
    if found.scheme not in ("http", "https"):
        return Failure(Kind.BAD_URL, f"not http or https: {found.scheme[:20] or 'no scheme'}")
    if not host or " " in host or not host.isprintable() or port is None or not 0 < port < 65536:
        return Failure(Kind.BAD_URL, "no host")
    return found.with_fragment(None) if found.raw_fragment else found


class Fetcher:
    """Makes requests over one pool of connections. Use as an asynchronous context."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Fetcher:
        settings = self._settings
        connector = aiohttp.TCPConnector(
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
            read_bufsize=1 << 18,
            trust_env=settings.proxy,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: URL, seconds: float) -> Body | Redirect | Failure:
        """Ask for a URL; raises nothing but cancellation."""
        assert self._session is not None
        try:
            async with asyncio.timeout(seconds):
                response = await self._session.get(url, allow_redirects=False)
                try:
                    return await self._read(response)
                finally:
                    # Closes the connection, too, where the body was not read to its end.
                    response.release()
        except TimeoutError:
            return Failure(Kind.TIMEOUT, may_pass=True)
        except Exception as error:
            return _explained(error)

    async def _read(self, response: aiohttp.ClientResponse) -> Body | Redirect | Failure:
        status, headers = response.status, response.headers
        if status in _REDIRECTS and "Location" in headers:
            target = parse(headers["Location"], response.url)
            return Redirect(target) if isinstance(target, URL) else target
        if status not in (200, 203):
            wait = _seconds(headers.get("Retry-After", "")) if status in _MAY_PASS else 0.0
            return Failure(Kind.http(status), "", status in _MAY_PASS, wait)
        if self._settings.robots_tag and _forbids(headers.getall("X-Robots-Tag", [])):
            return Failure(Kind.ROBOTS, headers["X-Robots-Tag"][:80])
        packing = 0
        if "Content-Encoding" in headers:
            name = headers["Content-Encoding"].strip().lower()
            if name not in ("", "identity"):
                if name not in _PACKINGS:
                    return Failure(Kind.ENCODING, f"Content-Encoding: {name[:40]}")
                packing = _PACKINGS[name]
        length = response.content_length
        if length is not None and length > self._settings.max_bytes:
            return Failure(Kind.TOO_LARGE, f"{length:,} bytes")
        body = await self._body(response.content)
        return Body(body, packing) if isinstance(body, bytes) else body

    async def _body(self, content: aiohttp.StreamReader) -> bytes | Failure:
        pieces: list[bytes] = []
        size, start, large = 0, time.monotonic(), False
        settings = self._settings
        try:
            async for piece in content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > settings.max_bytes:
                    return Failure(Kind.TOO_LARGE, f"over {settings.max_bytes:,} bytes")
                spent = time.monotonic() - start
                if spent > settings.slow_after and size < settings.min_rate * spent:
                    return Failure(Kind.SLOW, f"{size / spent:,.0f} bytes/s", may_pass=True)
                if size > _LARGE and not large:
                    waited = time.monotonic()
                    await self._large.acquire()
                    large = True
                    start += time.monotonic() - waited
        finally:
            if large:
                self._large.release()
        return b"".join(pieces)


def _seconds(text: str) -> float:
    """Retry-After (RFC 9110, 10.2.3): seconds or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _forbids(values: list[str]) -> bool:
    """Whether X-Robots-Tag forbids such use to everyone (rules for one named robot do not)."""
    return any(word.strip().lower() in _FORBIDDING for value in values for word in value.split(","))


def _explained(error: Exception) -> Failure:
    """What went wrong with a connection, and whether it may pass."""
    text = str(error)[:200]
    cause = getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror):
        number = getattr(cause, "errno", None)
        return Failure(Kind.NAME, "", may_pass=number == socket.EAI_AGAIN)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Failure(Kind.TLS, text)
    if isinstance(error, aiohttp.ClientConnectorError):
        if NOT_PUBLIC in str(cause):
            return Failure(Kind.PRIVATE, str(getattr(cause, "strerror", None) or cause)[:200])
        number = getattr(cause, "errno", None)
        return Failure(Kind.CONNECT, errno.errorcode.get(number or 0, ""), may_pass=True)
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return Failure(Kind.BAD_URL, text)
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientConnectionError | OSError):
        return Failure(Kind.BROKE, type(error).__name__, may_pass=True)
    return Failure(Kind.PROTOCOL, f"{type(error).__name__}: {text}")
