"""PNG: what Pillow stumbles over is taken out; rows that are missing are found.

Of the chunks only those go on that say how the picture looks. So neither a comment or a colour
profile of megabytes, nor an unknown method in one, nor a wrong checksum there costs a picture.

Source: Portable Network Graphics (PNG) Specification, third edition, W3C 2025.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from .problem import DamagedError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = (*_CRITICAL, b"tRNS", b"eXIf")
_COMMENTS = (b"tEXt", b"zTXt")
_EXIF = b"Raw profile type exif\0"
"""The keyword under which ImageMagick wrote EXIF before PNG had a chunk for it."""
_MAX_EXIF = 1 << 20
_MAX_CHUNKS = 1_000_000

_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel, by colour type."""
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
"""First column, first row, and steps between columns and rows, of each pass."""


def cleaned(data: bytes) -> bytes:
    """A PNG with those chunks alone that say how its picture (of an animation: the first) looks.

    Raises:
        DamagedError: a chunk that counts is damaged.
    """
    parts: list[bytes | memoryview] = [SIGNATURE]
    depth = colour = 0
    for kind, body in _chunks(data):
        if kind == b"IHDR" and len(body) == 13:
            depth, colour = body[8], body[9]
        if kind == b"tRNS" and colour == 0 and depth < 8 and len(body) == 2:
            # Pillow spreads grey of few bits over 0 to 255, but not the level that is transparent.
            level = (body[1] & ((1 << depth) - 1)) * 255 // ((1 << depth) - 1)
            body = memoryview(bytes((0, level)))
        if kind == b"tRNS" and colour == 2 and depth == 16 and len(body) == 6:
            # Pillow keeps the upper eight bits of each sample, so only those can be compared.
            body = memoryview(bytes(b for high in body[::2] for b in (0, high)))
        if kind in _COMMENTS:
            exif = _comment_exif(kind, bytes(body[: 2 * _MAX_EXIF]))
            if exif is None:
                continue
            kind, body = b"eXIf", memoryview(exif)
        if kind in _KEPT:
            checksum = zlib.crc32(body, zlib.crc32(kind))
            parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)]
    return b"".join(parts)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each chunk up to IEND; ancillary ones with a wrong checksum are left out.

    The last IDAT may be cut off.
    """
    view, place = memoryview(data), len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        body, end = view[place + 8 : place + 8 + length], place + 12 + length
        whole = end <= len(data)
        right = whole and struct.unpack_from(">I", data, end - 4)[0] == zlib.crc32(
            body, zlib.crc32(kind)
        )
        if right or (kind == b"IDAT" and not whole):
            yield kind, body
        elif kind in _CRITICAL and kind != b"IEND":
            raise DamagedError(f"its chunk {kind.decode()} is damaged")
        if kind == b"IEND":
            return
        place = end
    raise DamagedError(f"it has more than {_MAX_CHUNKS:,} chunks")


def _comment_exif(kind: bytes, body: bytes) -> bytes | None:
    """EXIF that stands in a comment, in hexadecimal digits after three lines."""
    if not body.startswith(_EXIF):
        return None
    text = body[len(_EXIF) :]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], 2 * _MAX_EXIF)
        found = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return None
    return found.removeprefix(b"Exif\0\0")


def check_rows(image: Image.Image, data: bytes) -> None:
    """Refuse a PNG whose data end before its last row, which Pillow leaves black.

    Args:
        image: the PNG, decoded.
        data: its file, from :func:`cleaned`.

    Raises:
        DamagedError: rows are missing.
    """
    header = struct.unpack_from(">IIBBBBB", data, len(SIGNATURE) + 8)
    if not header[6] and not _may_lack_rows(image):
        return
    wanted, found = _bytes_of(*header), 0
    inflate = zlib.decompressobj()
    for kind, body in _chunks(data):
        if kind != b"IDAT":
            continue
        rest: bytes | memoryview = body
        while rest and found < wanted and not inflate.eof:
            found += len(inflate.decompress(rest, 1 << 18))
            rest = inflate.unconsumed_tail
    while found < wanted and not inflate.eof:
        more = len(inflate.decompress(inflate.unconsumed_tail, 1 << 18))
        if not more:
            break
        found += more
    if found < wanted:
        raise DamagedError("it is cut off: data of its last rows are missing")


def _may_lack_rows(image: Image.Image) -> bool:
    """Whether the last row is as Pillow leaves a row that never came: zeros."""
    width, height = image.size
    last = image.crop((0, height - 1, width, height))
    return not any(last.tobytes())


def _bytes_of(
    width: int, height: int, depth: int, colour: int, _: int, __: int, interlaced: int
) -> int:
    """Bytes of all rows, each with its filter's byte, before compression."""
    bits = depth * _BANDS.get(colour, 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        wide, high = -(-(width - left) // across), -(-(height - top) // down)
        if wide > 0 and high > 0:
            total += high * (1 + (wide * bits + 7) // 8)
    return total
