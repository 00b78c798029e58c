"""A picture as it came becomes the JPEG that is kept. Imports PIL and nothing heavy."""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass

from engine.data.download.resize import resize
from engine.errors import BrokenImageError
from engine.pictures import decode

_LONGEST_SIDE = 65_500
"""Of a JPEG, as libjpeg writes it."""

_WINDOW = {1: 16 + zlib.MAX_WBITS, 2: zlib.MAX_WBITS}


class UnpackError(Exception):
    """A packed body that is broken, or too large once unpacked."""


@dataclass(frozen=True)
class Kept:
    """The JPEG (or with ``keep_original`` the bytes as they came), and its size in pixels."""

    data: bytes
    width: int
    height: int

    def digest(self) -> bytes:
        """SHA-256."""
        return hashlib.sha256(self.data).digest()


def unpack(data: bytes, packing: int, most: int) -> bytes:
    """Undo gzip (1) or deflate (2), never making more than ``most`` bytes.

    Raises:
        UnpackError: broken, or more than that.
    """
    if packing == 0:
        return data
    # Servers say deflate of both zlib's format and the bare one.
    bare = packing == 2 and data[:1] and (data[0] & 0x0F) != 8
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS if bare else _WINDOW[packing])
    try:
        found = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise UnpackError(str(error)) from error
    if len(found) > most:
        raise UnpackError(f"over {most:,} bytes once unpacked")
    if not unpacker.eof:
        raise UnpackError("cut off")
    return found


def shrink(data: bytes, size: int, quality: int, keep_original: bool) -> Kept:
    """Decode a picture whole and make it RGB, upright, its shorter side at most ``size``.

    A JPEG that is all of that already keeps its own bytes.

    Raises:
        BrokenImageError: it does not decode, or is too long and thin for a JPEG.
    """
    decoded = decode(data, at_least=size)
    width, height = decoded.width, decoded.height
    shorter = min(width, height)
    if keep_original or (decoded.plain_jpeg and shorter <= size):
        return Kept(data, width, height)
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
    return Kept(buffer.getvalue(), width, height)
