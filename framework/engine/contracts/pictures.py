"""Untrusted pictures: one reader for every dataset and the predictor. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from engine.errors import BrokenImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What a file may be, whatever its name says. Not among them: formats whose reader starts another
program (EPS) or is rare on the web, each a way in for a hostile file."""

MAX_PIXELS = 64_000_000
"""An image of more pixels is refused before it is decoded (192 MB as RGB)."""

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation (EXIF 2.32, tag 0x0112) to the turn that undoes it."""

_SIDEWAYS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True)
class Decoded:
    """A picture and what its file was.

    Attributes:
        image: RGB, upright; maybe smaller than ``width`` and ``height`` say (``at_least``).
        width: of the whole picture, upright, in pixels.
        height: likewise.
        plain_jpeg: the file is a JPEG of three colours that stands upright: its own bytes serve.
    """

    image: Image.Image
    width: int
    height: int
    plain_jpeg: bool


def open_image(path: Path) -> Image.Image:
    """Decode a file whole: RGB, turned as its EXIF says, transparency over white.

    Of an animation the first frame is taken; 16 bits a channel become 8. The file is closed.

    Raises:
        BrokenImageError: missing, no image of a known format, damaged, cut off or too large; the
            message names the file, ``reason`` does not.
    """
    try:
        if not path.is_file():  # spares us, too, from waiting on a pipe named like an image
            raise BrokenImageError("is not a file" if path.exists() else "no such file")
        with path.open("rb") as file:
            return decode_image(file)
    except BrokenImageError as error:
        raise BrokenImageError(f"image {path}: {error.reason}", reason=error.reason) from error
    except Exception as error:  # no permission, a name too long, a null byte
        reason = f"cannot be read: {error or type(error).__name__}"
        raise BrokenImageError(f"image {path}: {reason}", reason=reason) from error


def decode_image(file: IO[bytes], *, at_least: int | None = None) -> Image.Image:
    """Decode an open binary file whole, as :func:`open_image` does.

    Args:
        file: seekable, from its beginning.
        at_least: the picture is wanted with its shorter side this many pixels long: a JPEG of at
            least twice that may be decoded at a half, a quarter or an eighth of its size, which
            costs less. The result is never smaller than wanted, unless the picture is.

    Raises:
        BrokenImageError: no image of a known format, damaged, cut off or too large.
    """
    return decode(file, at_least=at_least).image


def decode(file: IO[bytes], *, at_least: int | None = None) -> Decoded:
    """:func:`decode_image`, and what the file was.

    Raises:
        BrokenImageError: likewise.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BrokenImageError(
                    f"{width} x {height} pixels are too many (over {MAX_PIXELS:,})"
                )
            three = image.format == "JPEG" and image.mode == "RGB"
            if at_least is not None and image.format in ("JPEG", "MPO"):
                image.draft("RGB", _scaled(width, height, at_least))
            image.load()
            turn = _turn(image)
            if turn in _SIDEWAYS:
                width, height = height, width
            upright = image if turn is None else image.transpose(turn)
            if at_least is not None and upright.mode == "RGB" and "transparency" not in image.info:
                found = upright  # will be resized, so a copy of it all would be for nothing
            else:
                found = to_rgb(upright)
            return Decoded(found, width, height, three and turn is None)
    except BrokenImageError:
        raise
    except UnidentifiedImageError as error:
        raise BrokenImageError(f"does not decode: {_looks_like(file)}") from error
    except Exception as error:  # PIL's readers raise almost anything on damaged files
        raise BrokenImageError(f"does not decode: {error or type(error).__name__}") from error


def _scaled(width: int, height: int, side: int) -> tuple[int, int]:
    """The size at which the shorter side is ``side``."""
    shorter = min(width, height)
    return max(1, width * side // shorter), max(1, height * side // shorter)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright; ``None`` where it stands upright."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF in a sound picture: the picture counts
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparency over white, 16 bits a channel as 8."""
    if image.mode.startswith("I"):  # PIL's own conversion would cut off at 255
        import numpy as np  # costs a worker process 0.1 s, and hardly a picture needs it

        high = np.asarray(image.convert("I")) >> 8
        return Image.fromarray(high.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, clear).convert("RGB")
    # A copy even where the mode fits: the reader's object holds on to its (closed) file.
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _looks_like(file: IO[bytes]) -> str:
    file.seek(0, os.SEEK_SET)
    head = file.read(64)
    if not head:
        return "the file is empty"
    if head.lstrip()[:1] == b"<":
        return "it is a web page or XML, not an image"
    return "not a JPEG, PNG, WebP, GIF or BMP image"
