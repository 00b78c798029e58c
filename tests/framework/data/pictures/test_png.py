"""PNG, made chunk by chunk: what is beside the picture costs nothing, missing rows are seen."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from engine.data.pictures import decode
from engine.errors import BrokenImageError

SIZE = 13, 11


def chunk(kind: bytes, body: bytes, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(kind + body) ^ wrong
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def head(depth: int, colour: int, size: tuple[int, int] = SIZE, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))


def png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def rows(samples: Sequence[bytes]) -> bytes:
    return zlib.compress(b"".join(b"\0" + row for row in samples))


RED = [bytes((200, 30, 40)) * SIZE[0]] * SIZE[1]
PICTURE = head(8, 2), chunk(b"IDAT", rows(RED))


def pixel(data: bytes, at: tuple[int, int] = (3, 3)) -> tuple[int, ...]:
    found = decode(data).image.getpixel(at)
    assert isinstance(found, tuple)
    return found


LARGE = zlib.compress(bytes(40_000_000))
BESIDE = {
    "text of 3 MB": chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
    "packed text of 40 MB": chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "international text of 40 MB": chunk(b"iTXt", b"Comment\0\1\0\0\0" + LARGE),
    "a hundred texts of 1 MB": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 100,
    "profile of 40 MB": chunk(b"iCCP", b"name\0\0" + LARGE),
    "profile by another method": chunk(b"iCCP", b"name\0\7" + b"bytes"),
    "profile that does not unpack": chunk(b"iCCP", b"name\0\0nothing"),
    "empty profile": chunk(b"iCCP", b""),
    "wrong checksum of a text": chunk(b"tEXt", b"a\0b", wrong=True),
    "wrong checksum of a time": chunk(b"tIME", b"\7\xe8\1\1\1\1\1", wrong=True),
    "wrong checksum of a transparent colour": chunk(
        b"tRNS", struct.pack(">HHH", 200, 30, 40), wrong=True
    ),
    "short dimensions": chunk(b"pHYs", b"\0"),
    "short gamma": chunk(b"gAMA", b""),
    "damaged EXIF": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "control of a broken animation": chunk(b"acTL", b"\xff"),
    "private": chunk(b"prVt", b"anything"),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("place", ["before", "after"])
def test_what_is_beside_the_picture_costs_nothing(name: str, place: str) -> None:
    beside = (BESIDE[name], b"") if place == "before" else (b"", BESIDE[name])
    assert pixel(png(PICTURE[0], beside[0], PICTURE[1], beside[1])) == (200, 30, 40)


@pytest.mark.parametrize("which", [0, 1])
def test_damaged_chunks_that_count(which: int) -> None:
    bad = list(PICTURE)
    bad[which] = bad[which][:-1] + bytes([bad[which][-1] ^ 1])
    with pytest.raises(BrokenImageError, match="damaged"):
        decode(png(*bad))


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (1, 0), (16, 0), (8, 2), (8, 3), (8, 6)])
@pytest.mark.parametrize("closed", [True, False])
def test_rows_are_missing(depth: int, colour: int, interlaced: int, closed: bool) -> None:
    """Half the rows, all but one, and none, packed as if that were all."""
    bands = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    palette = chunk(b"PLTE", bytes((0, 0, 0, 9, 9, 9))) if colour == 3 else b""
    size = 8, 8
    # Eight rows; those of the seven passes of an interlaced one are as many bytes at most.
    row = b"\0" + bytes(-(-8 * bands * depth // 8))
    passes = [1, 1, 1, 2, 2, 4, 4]
    widths = [1, 1, 2, 2, 4, 4, 8]
    all_rows = (
        [b"\0" + bytes(-(-w * bands * depth // 8)) for n, w in zip(passes, widths, strict=True)
         for _ in range(n)]
        if interlaced else [row] * 8
    )  # fmt: skip
    start = head(depth, colour, size, interlaced) + palette

    def with_rows(count: int) -> bytes:
        packed = zlib.compress(b"".join(all_rows[:count]))
        return start + chunk(b"IDAT", packed if closed else packed[:-5])

    if closed:
        assert decode(png(with_rows(len(all_rows)))).image.size == size
    for count in (len(all_rows) - 1, len(all_rows) // 2, 1):
        with pytest.raises(BrokenImageError, match="does not decode"):
            decode(png(with_rows(count)))


def test_cut_off_anywhere() -> None:
    grain = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grain).save(buffer, "PNG")
    data = buffer.getvalue()
    for length in range(8, len(data) - 20, 61):
        with pytest.raises(BrokenImageError):
            decode(data[:length])
        with pytest.raises(BrokenImageError):
            decode(data[:length] + chunk(b"IEND", b""))
    assert decode(data[:-12]).image.tobytes() == grain.tobytes()  # all but its end


def test_pieces_of_data() -> None:
    packed = rows(RED)
    pieces = [chunk(b"IDAT", packed[i : i + 3]) for i in range(0, len(packed), 3)]
    assert pixel(png(PICTURE[0], *pieces, chunk(b"IDAT", b""))) == (200, 30, 40)


def test_black_pictures_are_complete() -> None:
    assert pixel(png(head(8, 2), chunk(b"IDAT", rows([bytes(39)] * 11)))) == (0, 0, 0)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_level_of_grey_is_transparent(depth: int) -> None:
    """And the others are not."""
    levels = 1 << depth
    wide = -(-SIZE[0] * depth // 8)
    if depth == 16:
        samples = [struct.pack(">H", 0x1234) * 6 + struct.pack(">H", 0x1235) * 7] * SIZE[1]
        key, other = 0x1234, 0x12
    else:
        first = {1: 0x80, 2: 0x60, 4: 0x45, 8: 0x12}[depth]
        samples = [bytes([first]) + bytes(wide - 1)] * SIZE[1]
        key = first >> (8 - depth)
        other = 0
    data = png(
        head(depth, 0), chunk(b"tRNS", struct.pack(">H", key)), chunk(b"IDAT", rows(samples))
    )
    assert key < levels
    assert pixel(data, (0, 0)) == (255, 255, 255)
    assert pixel(data, (12, 0)) == (other,) * 3


def test_sixteen_bits_of_colour() -> None:
    samples = [struct.pack(">HHH", 0xC8FF, 0x1E00, 0x2880) * SIZE[0]] * SIZE[1]
    assert pixel(png(head(16, 2), chunk(b"IDAT", rows(samples)))) == (200, 30, 40)
    with_alpha = [struct.pack(">HHHH", 0xC8FF, 0x1E00, 0x2880, 0) * SIZE[0]] * SIZE[1]
    assert pixel(png(head(16, 6), chunk(b"IDAT", rows(with_alpha)))) == (255, 255, 255)


def test_a_transparent_colour_of_sixteen_bits() -> None:
    """By its upper eight bits: Pillow keeps no others."""
    key, other = struct.pack(">HHH", 0xC8FF, 0x1E00, 0x2880), struct.pack(">HHH", 0xFF01, 1, 0x80FF)
    samples = [key * 6 + other * 7] * SIZE[1]
    data = png(head(16, 2), chunk(b"tRNS", key), chunk(b"IDAT", rows(samples)))
    assert pixel(data, (0, 0)) == (255, 255, 255)
    assert pixel(data, (12, 0)) == (255, 0, 128)


def exif(orientation: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = orientation
    return found.tobytes().removeprefix(b"Exif\0\0")


def test_orientation_in_each_place_where_exif_may_stand() -> None:
    upright = SIZE[::-1]
    block = exif(6)
    assert decode(png(PICTURE[0], chunk(b"eXIf", block), PICTURE[1])).image.size == upright
    assert decode(png(*PICTURE, chunk(b"eXIf", block))).image.size == upright
    digits = b"\nexif\n%8d\n" % (len(block) + 6) + (b"Exif\0\0" + block).hex().encode() + b"\n"
    key = b"Raw profile type exif\0"
    for beside in (
        chunk(b"tEXt", key + digits),
        chunk(b"zTXt", key + b"\0" + zlib.compress(digits)),
    ):
        assert decode(png(PICTURE[0], beside, PICTURE[1])).image.size == upright
    bomb = chunk(b"zTXt", key + b"\0" + LARGE)
    assert decode(png(PICTURE[0], bomb, PICTURE[1])).image.size == SIZE


def test_orientation_of_xmp_is_not_applied() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    beside = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert decode(png(PICTURE[0], beside, PICTURE[1])).image.size == SIZE


def test_first_of_an_animation() -> None:
    frames = [Image.new("RGB", SIZE, colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    assert pixel(buffer.getvalue()) == (255, 0, 0)
