"""What can become of an image: downloaded, or failed for a reason of a known kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LONGEST_DETAIL, _LONGEST_HOST = 300, 255
_SURROGATES = re.compile("[\ud800-\udfff]")
_USERINFO = re.compile(
    r"(?:(?<=:)|^)//(?:[^/?#\s]+@"  # user and password as they should be written
    # or with a `/`, `?` or `#` that is not escaped, so that they seem to end in no port
    r"|[^/?#@:\s]*:(?![0-9]*(?:[/?#\s]|$))[^@\s]{1,200}@)"
)


def plain(text: str, longest: int = _LONGEST_DETAIL) -> str:
    """Text from outside as it may be stored and shown.

    What was not UTF-8 becomes U+FFFD, control characters become spaces, user names and passwords
    of URLs are left out, and no more than ``longest`` characters stay.
    """
    text = _SURROGATES.sub("\ufffd", text[: 8 * longest])
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return without_password(text)[:longest]


def without_password(text: str) -> str:
    """Replace user names and passwords of the URLs in a text by ``***``."""
    return _USERINFO.sub("//***@", text) if "@" in text else text


class Cause:
    """The kinds of failure. Their texts are what reports count by."""

    BAD_URL: Final = "bad URL"
    PRIVATE: Final = "private address"
    NAME: Final = "name not found"
    CONNECT: Final = "no connection"
    TLS: Final = "bad certificate or TLS"
    BROKE: Final = "connection broke"
    TIMEOUT: Final = "timeout"
    SLOW: Final = "too slow"
    PROTOCOL: Final = "not HTTP"
    REDIRECTS: Final = "redirects lead nowhere"
    TOO_LARGE: Final = "too many bytes"
    ROBOTS: Final = "forbidden by X-Robots-Tag"
    ENCODING: Final = "cannot be unpacked"
    NOT_IMAGE: Final = "not an image"
    BROKEN: Final = "broken image"
    PIXELS: Final = "too many pixels"
    DIED: Final = "decoder died"
    STUCK: Final = "decoding took too long"
    LONG_ID: Final = "id too long for a file name"

    ANSWERED: Final = frozenset({TOO_LARGE, ROBOTS, ENCODING})
    """What is known of an answer that the host gave as it should."""

    @staticmethod
    def http(status: int) -> str:
        """The kind of an answer that is not a success."""
        return f"HTTP {status}"


@dataclass(frozen=True)
class Refusal:
    """An image that could not be downloaded.

    Attributes:
        kind: for counting.
        detail: for people; may be empty. Servers write it: it is made :func:`plain`.
        may_pass: another try might help.
        retry_after: seconds that the server asks to wait, or 0.
        busy: the host asks for fewer requests (429 or 503).
        free: such an answer that says nothing about this image, so that it does not count as one
            of its attempts (429, or 503 with Retry-After).
    """

    kind: str
    detail: str = ""
    may_pass: bool = False
    retry_after: float = 0.0
    busy: bool = False
    free: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", plain(self.detail))


@dataclass(frozen=True)
class Item:
    """An image that is wanted.

    Attributes:
        position: its place in the list, from 1.
        id: its name.
        url: where it should be.
    """

    position: int
    id: str
    url: str


@dataclass(frozen=True)
class Downloaded:
    """An image that was downloaded; its JPEG lies in the spool, or in ``data``.

    Attributes:
        position: its place in the list.
        width: of the JPEG, in pixels.
        height: of the JPEG, in pixels.
        size: of the JPEG, in bytes.
        sha256: of the JPEG, 32 bytes.
        received: bytes that came over the network.
        data: the JPEG, where it is not in the spool.
    """

    position: int
    width: int
    height: int
    size: int
    sha256: bytes
    received: int = 0
    data: bytes | None = None


@dataclass(frozen=True)
class Failed:
    """An image that failed for good."""

    position: int
    host: str
    failure: Refusal
    attempts: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", plain(self.host, _LONGEST_HOST))
