"""What can become of an image: had, or failed for a reason of a known kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class Kind:
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

    @staticmethod
    def http(status: int) -> str:
        """The kind of an answer that is no success."""
        return f"HTTP {status}"


@dataclass(frozen=True)
class Failure:
    """An image that could not be had.

    Attributes:
        kind: for counting.
        detail: for people; may be empty.
        may_pass: another try might help.
        retry_after: seconds that the server asks to wait, or 0.
    """

    kind: str
    detail: str = ""
    may_pass: bool = False
    retry_after: float = 0.0


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
class Had:
    """An image that was had; its JPEG lies in the spool, or in ``data``.

    Attributes:
        position: its place in the list.
        width: of the JPEG, in pixels.
        height: likewise.
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
class Lost:
    """An image that failed for good."""

    position: int
    host: str
    failure: Failure
    attempts: int
