"""URLs as they are sent.

Existing escapes stay as they are, and only what may not stand in a URL (RFC 3986) is escaped. A
server that signs its URLs compares them byte by byte.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from yarl import URL

from engine.data.download.outcome import Cause, Refusal

LONGEST = 1 << 16
"""Characters of a URL; servers refuse far shorter ones."""

_MUST_ESCAPE = re.compile(rb"[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]|%(?![0-9A-Fa-f]{2})")
_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_HOST = re.compile(r"[a-z0-9\-._~!$&'()*+,;=]{1,255}")
_PORTS = {"http": 80, "https": 443}


class _Parts(NamedTuple):
    """The parts of a URL (RFC 3986, appendix B) without the fragment; ``None``: not there."""

    scheme: str | None
    authority: str | None
    path: str
    query: str | None


def parse(url: str, base: URL | None = None) -> URL | Refusal:
    """An address as text, maybe relative to ``base``; only http and https with a host pass.

    Args:
        url: the text. Bytes that were not UTF-8 may stand in it as lone surrogates (the error
            handler ``surrogateescape``, as aiohttp decodes headers); they are sent as their bytes.
        base: what a relative address is relative to.

    Returns:
        The URL without a fragment, its host in ASCII (IDNA); or why there is none. The reason
        quotes nothing that could be a password.
    """
    if len(url) > LONGEST:
        return Refusal(Cause.BAD_URL, f"longer than {LONGEST:,} characters")
    try:
        found = _split(escape(url.strip()))
        if base is not None:
            found = _joined(_split(str(base)), found)
        return _checked(found)
    except ValueError as error:
        return Refusal(Cause.BAD_URL, str(error) if type(error) is ValueError else "no host")


def escape(text: str) -> str:
    """Escape what may not stand in a URL; of a ``%`` only one that begins no escape.

    Raises:
        UnicodeEncodeError: half of a surrogate pair stands in it.
    """
    data = text.encode("utf-8", "surrogateescape")
    return _MUST_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], data).decode("ascii")


def _split(url: str) -> _Parts:
    match = _PARTS.fullmatch(url)
    assert match is not None  # every text without a line end matches, and those are escaped
    scheme, authority, path, query = match.groups()
    if scheme is not None and not _SCHEME.fullmatch(scheme):
        raise ValueError("no scheme")
    return _Parts(scheme, authority, path, query)


def _joined(base: _Parts, found: _Parts) -> _Parts:
    """Resolve a reference (RFC 3986, 5.2.2)."""
    if found.scheme is not None:
        return found
    if found.authority is not None:
        return found._replace(scheme=base.scheme)
    if found.path.startswith("/"):
        return found._replace(scheme=base.scheme, authority=base.authority)
    if not found.path:
        query = base.query if found.query is None else found.query
        return base._replace(query=query)
    path = base.path[: base.path.rfind("/") + 1] or "/"
    return _Parts(base.scheme, base.authority, path + found.path, found.query)


def _checked(found: _Parts) -> URL:
    scheme = (found.scheme or "").lower()
    if scheme not in _PORTS:
        raise ValueError(f"not http or https: {scheme[:20] or 'no scheme'}")
    user, at, host_port = (found.authority or "").rpartition("@")
    match = _HOST_PORT.fullmatch(host_port)
    if match is None:
        raise ValueError("no host, or a port that is not a number")
    host, port = _host(match[1]), match[2] or ""
    if port:
        number = int(port) if len(port) < 10 else 0
        if not 0 < number < 65536:
            raise ValueError("a port that is not from 1 to 65535")
        port = "" if number == _PORTS[scheme] else f":{number}"
    query = "" if found.query is None else f"?{found.query}"
    path = _without_dots(found.path) or "/"
    return URL(f"{scheme}://{user}{at}{host}{port}{path}{query}", encoded=True)


def _host(host: str) -> str:
    """A host in ASCII: a name, an IPv4 address, or an IPv6 address in brackets."""
    if host.startswith("["):
        if "%" in host:
            raise ValueError("an address with a zone, which only holds on one machine")
        return f"[{IPv6Address(host[1:-1])}]"
    if "%" in host:
        host = unquote_to_bytes(host).decode("utf-8")
    if not host.isascii():
        try:
            host = URL.build(scheme="http", host=host).raw_host or ""
        except ValueError:
            host = ""
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError("no host, or one whose name holds what no name may hold")
    return host


def _without_dots(path: str) -> str:
    """Resolve ``.`` and ``..`` (RFC 3986, 5.2.4)."""
    if "/." not in path:
        return path
    segments = path.split("/")
    kept: list[str] = []
    for segment in segments[1:]:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
