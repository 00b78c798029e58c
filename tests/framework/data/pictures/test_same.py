"""The same picture by its path, its bytes, an opened or a loaded Pillow image, and in an export."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from engine.contracts import SquarePreprocess
from engine.contracts.preprocess import to_pixels
from engine.data.pictures import decode, read_picture
from engine.errors import BrokenImageError
from engine.exchange.pictures import PACKAGE, reader_package

GRAIN = np.random.default_rng(3).integers(0, 256, (30, 40, 3), dtype=np.uint8)
PHOTO = Image.fromarray(GRAIN)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def small_frame(box: tuple[int, int, int, int], screen: tuple[int, int], clear: bool) -> bytes:
    """A GIF whose first frame is smaller than its screen."""
    x0, y0, x1, y1 = box
    frame = Image.new("P", (x1 - x0, y1 - y0), 1)
    frame.putpixel((0, 0), 0)
    frame.putpalette([9, 9, 9, 200, 30, 40])
    data = bytearray(saved(frame, "GIF", **({"transparency": 0} if clear else {})))
    data[6:10] = struct.pack("<HH", *screen)
    at = data.index(b"\x2c\0\0\0\0")
    data[at + 1 : at + 5] = struct.pack("<HH", x0, y0)
    return bytes(data)


def bmp(alpha: int, version: int = 108) -> bytes:
    """A BMP of version 4 or 5 with a mask for transparency."""
    wide, high = 6, 5
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", version, wide, high, 1, 32, 3, wide * high * 4, 0, 0, 0, 0)
    head += masks
    head += bytes(version - len(head))
    start = 14 + len(head)
    pixels = bytes((40, 30, 200, alpha)) * (wide * high)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + pixels


SIXTEEN = Image.fromarray(GRAIN[..., 0].astype(np.uint16) * 257)
FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: saved(PHOTO, "JPEG"),
    "progressive jpeg": lambda: saved(PHOTO, "JPEG", progressive=True),
    "jpeg lying": lambda: saved(PHOTO, "JPEG", exif=exif(6)),
    "jpeg mirrored": lambda: saved(PHOTO, "JPEG", exif=exif(5)),
    "jpeg without its end": lambda: saved(PHOTO, "JPEG")[:-2],
    "jpeg of cmyk": lambda: saved(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg with xmp": lambda: saved(PHOTO, "JPEG", xmp=b'<a tiff:Orientation="6"/>'),
    "png": lambda: saved(PHOTO, "PNG"),
    "png lying": lambda: saved(PHOTO, "PNG", exif=exif(8)),
    "png half clear": lambda: saved(Image.merge("RGBA", [*PHOTO.split(), PHOTO.split()[0]]), "PNG"),
    "png of 16 bits": lambda: saved(SIXTEEN, "PNG"),
    "png of 16 dark bits": lambda: saved(Image.fromarray(np.asarray(SIXTEEN) // 600), "PNG"),
    "png of 16 bits with a clear level": lambda: saved(
        SIXTEEN, "PNG", transparency=int(np.asarray(SIXTEEN)[3, 3])
    ),
    "png of a palette": lambda: saved(PHOTO.quantize(7), "PNG", transparency=2),
    "png of 1 bit": lambda: saved(PHOTO.convert("1"), "PNG"),
    "gif": lambda: saved(PHOTO.quantize(50), "GIF"),
    "gif of a small frame": lambda: small_frame((3, 4, 10, 9), (20, 15), False),
    "gif of a small clear frame": lambda: small_frame((3, 4, 10, 9), (20, 15), True),
    "bmp": lambda: saved(PHOTO, "BMP"),
    "bmp of zeros": lambda: bmp(0),
    "bmp half clear": lambda: bmp(90, 124),
    "webp": lambda: saved(PHOTO, "WEBP"),
    "webp lying": lambda: saved(PHOTO, "WEBP", exif=exif(3)),
    "webp clear": lambda: saved(Image.new("RGBA", (9, 8), (1, 2, 3, 100)), "WEBP", lossless=True),
    "tiff": lambda: saved(PHOTO, "TIFF"),
    "tiff packed, lying": lambda: saved(PHOTO, "TIFF", compression="tiff_lzw", tiffinfo={274: 6}),
    "tiff of 16 bits": lambda: saved(SIXTEEN, "TIFF"),
    "tiff of floats": lambda: saved(Image.fromarray((GRAIN[..., 0] / 255).astype("f")), "TIFF"),
    "tiff of cmyk": lambda: saved(PHOTO.convert("CMYK"), "TIFF"),
    "tiff of lab": lambda: saved(Image.merge("LAB", PHOTO.split()), "TIFF"),
}
if features.check_module("avif"):
    FILES["avif"] = lambda: saved(PHOTO, "AVIF")
    FILES["avif lying"] = lambda: saved(PHOTO, "AVIF", exif=exif(6))


@pytest.mark.parametrize("name", FILES)
def test_by_every_way_in(name: str, tmp_path: Path) -> None:
    data = FILES[name]()
    path = tmp_path / "picture"
    path.write_bytes(data)
    wanted = read_picture(path)
    assert (wanted.mode, wanted.info) == ("RGB", {})
    opened = Image.open(path)
    for found in (
        str(path), data, bytearray(data), memoryview(data), opened, opened, Image.open(path),
        Image.open(io.BytesIO(data)), np.asarray(wanted),
    ):  # fmt: skip
        again = read_picture(found)
        assert again.size == wanted.size
        assert again.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("name", [n for n in FILES if n not in ("jpeg without its end",)])
def test_loaded_by_pillow(name: str, tmp_path: Path) -> None:
    image = Image.open(io.BytesIO(FILES[name]()))
    image.load()
    wanted = np.asarray(decode(FILES[name]()).image)
    if "small" in name:  # Pillow's image does not say any more where its frame ended
        return
    assert np.array_equal(np.asarray(read_picture(image)), wanted)


def test_one_image_for_many_threads(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(FILES["png"]())
    image = Image.open(tmp_path / "x.png")
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: read_picture(image).tobytes(), range(64)))
    assert found == {PHOTO.tobytes()}


def test_another_frame_than_the_first_is_as_it_was_chosen() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    image = Image.open(io.BytesIO(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    image.seek(1)
    assert read_picture(image).getpixel((3, 3)) == (0, 255, 0)


def test_orientation_of_xmp_is_not_applied() -> None:
    assert decode(FILES["jpeg with xmp"]()).image.size == PHOTO.size
    both = saved(PHOTO, "JPEG", xmp=b'<a tiff:Orientation="3"/>', exif=exif(6))
    assert decode(both).image.size == PHOTO.size[::-1]


def test_a_small_frame_stands_on_its_screen() -> None:
    for clear in (False, True):
        found = decode(small_frame((3, 4, 10, 9), (20, 15), clear)).image
        assert found.size == (20, 15)
        expected = np.full((15, 20, 3), 255, np.uint8)
        expected[4:9, 3:10] = (200, 30, 40)
        expected[4, 3] = 255 if clear else 9
        assert np.array_equal(np.asarray(found), expected)
    beyond = decode(small_frame((15, 10, 25, 20), (20, 15), False)).image
    assert beyond.size == (25, 20)
    with pytest.raises(BrokenImageError, match="bomb"):
        decode(small_frame((0, 0, 3, 3), (65535, 65535), False))


def test_a_bmp_whose_transparency_is_zero_everywhere_is_opaque() -> None:
    for version in (108, 124):
        assert decode(bmp(0, version)).image.getpixel((2, 2)) == (200, 30, 40)
    assert decode(bmp(255)).image.getpixel((2, 2)) == (200, 30, 40)
    assert decode(bmp(128)).image.getpixel((2, 2)) == (227, 142, 147)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_every_format(orientation: int) -> None:
    wanted = np.asarray(decode(saved(PHOTO, "PNG", exif=exif(orientation))).image)
    for data in (
        saved(PHOTO, "WEBP", exif=exif(orientation), lossless=True),
        saved(PHOTO, "TIFF", tiffinfo={274: orientation}),
        saved(PHOTO, "TIFF", tiffinfo={274: orientation}, compression="tiff_deflate"),
    ):
        decoded = decode(data)
        assert np.array_equal(np.asarray(decoded.image), wanted)
        assert (decoded.width, decoded.height) == decoded.image.size


CUT = [n for n in FILES if n not in ("jpeg without its end",)]


@pytest.mark.parametrize("name", CUT)
def test_cut_off(name: str) -> None:
    data = FILES[name]()
    for share in (0.3, 0.5, 0.7, 0.85):
        length = int(len(data) * share)
        if "png" in name and len(data) - length < 40:
            continue
        with pytest.raises(BrokenImageError):
            decode(data[:length])


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "tiff_lzw", "tiff_deflate", "packbits"])
def test_more_rows_than_there_are_data(kind: str) -> None:
    """The data are complete in themselves, and too few."""
    options = {} if kind.isupper() else {"compression": kind}
    image = PHOTO.quantize(50) if kind == "GIF" else PHOTO
    data = bytearray(saved(image, "TIFF" if options else kind, **options))
    if kind == "GIF":
        at = data.index(b"\x2c\0\0\0\0")
        data[8:10] = data[at + 7 : at + 9] = struct.pack("<H", 60)
    elif kind == "BMP":
        data[22:26] = struct.pack("<i", 60)
    else:
        start = struct.unpack_from("<I", data, 4)[0]
        for at in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
            if struct.unpack_from("<H", data, at)[0] in (257, 278):  # height, rows of a strip
                data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, 60)
    with pytest.raises(BrokenImageError):
        decode(bytes(data))


def test_tiff_of_jpegs_and_of_giant_tiles_are_refused() -> None:
    with pytest.raises(BrokenImageError, match="TIFF compressed as JPEG"):
        decode(saved(PHOTO, "TIFF", compression="jpeg"))
    tiles = bytearray(saved(PHOTO, "TIFF", compression="tiff_lzw", dpi=(9, 9)))
    for tag, other in ((282, 322), (283, 323)):  # resolutions become sides of tiles
        at = tiles.index(struct.pack("<HHI", tag, 5, 1))
        tiles[at : at + 12] = struct.pack("<HHII", other, 4, 1, 60_000)
    with pytest.raises(BrokenImageError, match="tiles"):
        decode(bytes(tiles))


def test_a_file_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.jpg"
    path.write_bytes(FILES["jpeg"]())
    os.truncate(path, 1 << 40)
    with pytest.raises(BrokenImageError, match="536,870,912"):
        read_picture(path)


def test_mutated_files() -> None:
    """By seed: each is read, or refused with its reason."""
    files = [make() for make in FILES.values()]
    whole = 0
    for seed in range(400):
        rng = random.Random(seed)
        data = bytearray(rng.choice(files))
        for _ in range(rng.choice((1, 2, 8))):
            early = rng.random() < 0.5
            place = rng.randrange(min(len(data), 200) if early else len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[place] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[place : place + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
            elif kind == 2:
                data[place:place] = rng.randbytes(rng.choice((1, 40)))
            elif len(data) > 100:
                del data[place : place + rng.choice((1, 40))]
        try:
            found = decode(bytes(data), at_least=rng.choice((None, 10))).image
        except BrokenImageError:
            continue
        assert found.mode == "RGB"
        whole += 1
    assert 20 < whole < 300


_PROGRAM = """
import hashlib, json, sys
from types import SimpleNamespace
sys.path.insert(0, "pictures.zip")
from pictures.cut import square
from pictures.reader import decode
assert not any(name.split(".")[0] in ("engine", "torch") for name in sys.modules)
picture = SimpleNamespace(**json.load(open("preprocess.json")))
for name in sys.argv[1:]:
    pixels = square(decode(open(name, "rb").read()).image, picture)
    print(hashlib.sha256(pixels.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("resize", ["shorter_side", "crop_first", "squash"])
def test_an_export_reads_every_file_as_engine_does(resize: str, tmp_path: Path) -> None:
    """Bit for bit, without Engine."""
    import hashlib

    preprocess = SquarePreprocess(17, resize=resize)  # type: ignore[arg-type]
    (tmp_path / PACKAGE).write_bytes(reader_package())
    (tmp_path / "preprocess.json").write_text(json.dumps(asdict(preprocess)))
    wanted = []
    for number, make in enumerate(FILES.values()):
        (tmp_path / str(number)).write_bytes(make())
        pixels = to_pixels(decode(make()).image, preprocess)
        wanted.append(hashlib.sha256(pixels.tobytes()).hexdigest())
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *map(str, range(len(wanted)))],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == wanted
