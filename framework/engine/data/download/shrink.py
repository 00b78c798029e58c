"""A picture as it came becomes the JPEG that is kept. Imports PIL and nothing heavy."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass

from engine.data.download.headers import GZIP
from engine.data.pictures import decode
from engine.data.pictures.resize import resize
from engine.errors import BrokenImageError

_LONGEST_SIDE = 65_500
"""Of a JPEG, as libjpeg writes it."""

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_MEMBERS = 10_000
_FIRST_STEP, _LARGEST_STEP = 1 << 12, 1 << 20


class UnpackError(Exception):
    """A packed body that is broken, or too large once unpacked."""


@dataclass(frozen=True)
class Encoded:
    """The JPEG (or with ``keep_original`` the bytes as they came), and its size in pixels."""

    data: bytes
    width: int
    height: int

    def digest(self) -> bytes:
        """SHA-256."""
        return hashlib.sha256(self.data).digest()


def unpack(data: bytes, packing: int, maximum: int) -> bytes:
    """Undo what a server packed, never making more than ``maximum`` bytes at any step.

    Args:
        data: the body as it came.
        packing: digits of base 4, the lowest undone first: 1 gzip, 2 deflate, 0 nothing. Of a
            packing that stands there several times, only the first must be there: servers and the
            proxies before them both add a header for the same one.
        maximum: bytes.

    Raises:
        UnpackError: broken, or more than that.
    """
    before = 0
    while packing:
        kind, packing = packing % 4, packing // 4
        if kind != before or _looks_packed(data, kind):
            data = _gunzip(data, maximum) if kind == GZIP else _inflate(data, maximum)
        before = kind
    return data


def _looks_packed(data: bytes, kind: int) -> bool:
    if kind == GZIP:
        return data.startswith(_GZIP_MAGIC)
    return _is_zlib(data)


def _is_zlib(data: bytes) -> bool:
    """Whether it begins as zlib's format does (RFC 1950, 2.2)."""
    return len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0


def _inflate(data: bytes, maximum: int) -> bytes:
    """Undo deflate; servers say it of both zlib's format and the bare one."""
    if not data:
        return data
    window = zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS
    return _unpacked(memoryview(data), window, maximum)[0]


def _gunzip(data: bytes, maximum: int) -> bytes:
    """Undo gzip of one or several members, one after another; what follows them is passed over."""
    if not data:
        return data
    view = memoryview(data)
    pieces: list[bytes] = []
    size = 0
    for _ in range(_MAX_MEMBERS):
        piece, used = _unpacked(view, 16 + zlib.MAX_WBITS, maximum, size)
        pieces.append(piece)
        size += len(piece)
        view = view[used:]
        if bytes(view[:2]) != _GZIP_MAGIC:
            return b"".join(pieces)
    raise UnpackError(f"over {_MAX_MEMBERS:,} members of gzip")


def _unpacked(view: memoryview, window: int, maximum: int, size: int = 0) -> tuple[bytes, int]:
    """One stream at the beginning of some bytes: its content, and how many bytes it takes.

    ``size`` bytes of the ``maximum`` are there already.
    """
    unpacker = zlib.decompressobj(window)
    pieces: list[bytes] = []
    at = 0
    step = _FIRST_STEP
    try:
        while not unpacker.eof and at < len(view):
            # In steps, or each of very many members would copy everything that follows it.
            piece = unpacker.decompress(view[at : at + step], maximum + 1 - size)
            at = min(at + step, len(view))
            step = min(2 * step, _LARGEST_STEP)
            while True:
                pieces.append(piece)
                size += len(piece)
                if size > maximum:
                    raise UnpackError(f"over {maximum:,} bytes once unpacked")
                if not unpacker.unconsumed_tail:
                    break
                piece = unpacker.decompress(unpacker.unconsumed_tail, maximum + 1 - size)
        at -= len(unpacker.unused_data)
    except zlib.error as error:
        raise UnpackError(str(error)) from error
    if not unpacker.eof:
        raise UnpackError("cut off")
    return b"".join(pieces), at


def shrink(data: bytes, size: int, quality: int, keep_original: bool) -> Encoded:
    """Decode a picture whole and make it RGB, upright, its shorter side at most ``size``.

    A JPEG that is all of that already keeps its own bytes.

    Raises:
        BrokenImageError: it does not decode, or is too long and thin for a JPEG.
    """
    decoded = decode(data, at_least=size)
    width, height = decoded.width, decoded.height
    shorter = min(width, height)
    if keep_original or (decoded.plain_jpeg and shorter <= size):
        return Encoded(data, width, height)
    image = decoded.image
    if shorter > size:
        width = size if width == shorter else max(1, round(width * size / shorter))
        height = size if height == shorter else max(1, round(height * size / shorter))
        if max(width, height) <= _LONGEST_SIDE:
            image = resize(image, (width, height), (decoded.width, decoded.height))
    if max(width, height) > _LONGEST_SIDE:
        raise BrokenImageError(f"too long and thin for a JPEG: {width} x {height} pixels")
    image.info = {}  # no comment or profile of the original goes along
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Encoded(buffer.getvalue(), width, height)
