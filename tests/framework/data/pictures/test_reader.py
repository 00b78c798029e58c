"""Untrusted image files: what decodes, and what is refused with its reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.pictures import open_image
from engine.errors import BrokenImageError

RED = (200, 30, 40)


def saved(folder: Path, image: Image.Image, kind: str, **options: object) -> Path:
    path = folder / "x.jpg"  # the name says JPEG whatever is inside, as on the web
    image.save(path, format=kind, **options)
    return path


def near(pixel: object, wanted: tuple[int, int, int]) -> bool:
    return bool(np.abs(np.asarray(pixel, int) - np.asarray(wanted)).max() <= 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_formats(tmp_path: Path, kind: str) -> None:
    image = open_image(saved(tmp_path, Image.new("RGB", (31, 17), RED), kind))
    assert (image.mode, image.size) == ("RGB", (31, 17))
    assert near(image.getpixel((15, 8)), RED)


def test_cmyk(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (16, 16), RED).convert("CMYK"), "JPEG")
    image = open_image(path)
    assert image.mode == "RGB"
    assert near(image.getpixel((8, 8)), RED)


def test_sixteen_bits_keep_their_brightness(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = open_image(saved(tmp_path, Image.fromarray(levels), "PNG"))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image)[:, :, 0].ravel(), np.arange(256))


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, (0, 200, 0), (0, 0, 200))]
    for kind in ("GIF", "WEBP"):
        path = saved(tmp_path, frames[0], kind, save_all=True, append_images=frames[1:])
        assert near(open_image(path).getpixel((10, 10)), RED)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = open_image(saved(tmp_path, Image.new("RGB", (9, 9), "white").convert(mode), "PNG"))
    assert image.mode == "RGB"
    assert near(image.getpixel((4, 4)), (255, 255, 255))


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG")
    assert open_image(path).getpixel((4, 4)) == (255, 255, 255)
    palette = Image.new("P", (9, 9), 0)
    palette.putpalette([0, 0, 0] * 256)
    path = saved(tmp_path, palette, "PNG", transparency=0)
    assert open_image(path).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "white")
    upright.paste(RED, (0, 0, 16, 16))  # red in the top left corner
    # How a camera stores it, by EXIF's own definition of each value: where row 0 and column 0 are.
    stored = {
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(saved(tmp_path, stored, "JPEG", exif=exif, quality=95))
    assert image.size == (48, 32)
    assert near(image.getpixel((5, 5)), RED)
    assert near(image.getpixel((40, 25)), (255, 255, 255))


def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (16, 16), RED), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff")
    assert near(open_image(path).getpixel((8, 8)), RED)


def broken(path: Path) -> str:
    with pytest.raises(BrokenImageError) as caught:
        open_image(path)
    assert str(path) in caught.value.message
    return caught.value.message


def test_missing_folder_and_pipe(tmp_path: Path) -> None:
    assert "no such file" in broken(tmp_path / "none.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert "not a file" in broken(tmp_path / "folder.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait permanently
    assert "not a file" in broken(tmp_path / "pipe.jpg")
    broken(tmp_path / ("n" * 300 + ".jpg"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"hello, world", "not a JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a JPEG"),
        (b"\xff\xd8\xff\xe0", "x.jpg"),
    ],
)
def test_no_images(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    assert reason in broken(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_truncated(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "does not decode" in broken(path)


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 50_000])
def test_bombs_are_refused_undecoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(png(side, side))
    assert f"{side} x {side}" in broken(path) or "bomb" in broken(path)


def test_the_result_stands_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (16, 16), RED), "JPEG")
    image = open_image(path)
    path.unlink()
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert not hasattr(image, "filename")
