"""Bytes of a picture's file, or a Pillow image, become RGB: the same from either.

Everything that uses pictures reads them here: datasets, training, evaluation, the Python API,
downloads and their verification. An ONNX export takes these modules along (with ``cut``), so they
need nothing but Pillow and numpy.
"""

from __future__ import annotations

import io
import os
import threading
from dataclasses import dataclass
from functools import cache

from PIL import (
    BmpImagePlugin,  # noqa: F401 (by name, or Pillow imports its forty others at the first WebP)
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
    features,
)

from . import jpeg, png
from .modes import SIDEWAYS, is_plain, to_rgb, turn_of
from .problem import DamagedError, PictureError

MAX_PIXELS = 64_000_000
"""A picture of more pixels is refused before it is decoded (192 MB as RGB)."""

MAX_BYTES = 1 << 29
"""A file of more bytes is refused unread: more than any picture of ``MAX_PIXELS`` needs."""

_file = threading.Lock()
"""Held while an opened image's file is read: one image may be given twice, to two threads."""

_TILE_SIDES = (322, 323)
_TIFF_JPEG = frozenset({6, 7, 34892})
_STARTS = (b"\xff\xd8\xff", png.SIGNATURE, b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@cache
def formats() -> tuple[str, ...]:
    """What a file may be, whatever its name says.

    Not among them: formats whose reader starts another program (EPS) or that hardly anybody uses,
    each a way in for a hostile file.
    """
    common = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
    try:
        avif = features.check_module("avif")
    except ValueError:  # Pillow before 11.3
        avif = False
    if not avif:
        return common
    from PIL import AvifImagePlugin  # noqa: F401

    return (*common, "AVIF")


@dataclass(frozen=True)
class Decoded:
    """A picture and what its file was.

    Attributes:
        image: RGB, upright; maybe smaller than ``width`` and ``height`` say (``at_least``).
        width: of the whole picture, upright, in pixels.
        height: in the same way.
        plain_jpeg: the file is a JPEG of three colours that stands upright: its own bytes serve.
    """

    image: Image.Image
    width: int
    height: int
    plain_jpeg: bool


def decode(data: bytes, *, at_least: int | None = None) -> Decoded:
    """Decode a file's bytes: RGB, turned as its EXIF says, transparency over white.

    Of an animation the first frame is taken, on its screen; 16 bits a channel become 8. A picture
    whose pixels are not all there is refused.

    Args:
        data: the file.
        at_least: the picture is wanted with its shorter side this many pixels long: a JPEG of at
            least twice that may be decoded at a half, a quarter or an eighth of its size, which
            costs less. The result is never smaller than wanted, unless the picture is.

    Raises:
        PictureError: no picture of a known format, damaged, cut off or too large.
    """
    try:
        if len(data) > MAX_BYTES:
            raise PictureError(f"the file has more than {MAX_BYTES >> 20} MiB")
        if data.startswith(png.SIGNATURE):
            data = png.cleaned(data)
        with Image.open(io.BytesIO(data), formats=formats()) as image:
            return _read(image, data, at_least)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise DamagedError(_looks_like(data)) from error
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise DamagedError(str(error) or type(error).__name__) from error


def _read(image: ImageFile.ImageFile, data: bytes, at_least: int | None) -> Decoded:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(f"{width} x {height} pixels are too many (over {MAX_PIXELS:,})")
    kind = "JPEG" if image.format == "MPO" else image.format
    three = kind == "JPEG" and image.mode == "RGB"
    frame = image.tile[0][1] if image.tile else None
    if kind == "TIFF":
        _check_tiff(image)
    if kind == "JPEG":
        if at_least is not None:
            image.draft("RGB", _scaled(width, height, at_least))
        jpeg.load(image, data)
    else:
        image.load()
    if kind == "PNG":
        png.check_rows(image, data)
    if kind == "GIF" and frame is not None and frame != (0, 0, *image.size):
        return Decoded(_on_screen(image, frame), width, height, False)
    turn = turn_of(image)
    if turn in SIDEWAYS:
        width, height = height, width
    plain = image.mode == "RGB" and "transparency" not in image.info
    if at_least is not None and plain and turn is None:
        found: Image.Image = image  # will be resized, so a copy of it all would be for nothing
        found.info = {}
    else:
        found = to_rgb(image, sixteen=image.mode != "I" or kind == "PNG")
    return Decoded(found, width, height, three and turn is None)


def _check_tiff(image: ImageFile.ImageFile) -> None:
    """Refuse what libtiff reads with holes in it, and tiles that take gigabytes."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(259) in _TIFF_JPEG:
        raise DamagedError("it is a TIFF compressed as JPEG, which is not read")
    sides = [tags.get(tag, 1) for tag in _TILE_SIDES]
    if not all(isinstance(side, int) for side in sides) or sides[0] * sides[1] > MAX_PIXELS:
        raise PictureError(f"its tiles of {sides[0]} x {sides[1]} pixels are too large")


def _on_screen(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """A GIF's first frame where it stands; the screen around it is transparent, so white.

    The background colour of GIF is not used, as in every browser.
    """
    screen = Image.new("RGB", image.size, (255, 255, 255))
    screen.paste(to_rgb(image.crop(frame)), frame[:2])
    return screen


def _scaled(width: int, height: int, side: int) -> tuple[int, int]:
    """The size at which the shorter side is ``side``."""
    shorter = min(width, height)
    return max(1, width * side // shorter), max(1, height * side // shorter)


def from_image(image: Image.Image) -> Image.Image:
    """A Pillow image as its file's bytes would be read: RGB, upright, transparency over white.

    One that was opened and not loaded yet is read from its file by :func:`decode`. A plain RGB
    picture is given back as it is.

    Raises:
        PictureError: damaged, cut off, too large, or the range of its values is not clear.
    """
    if is_plain(image) and min(image.size) and not getattr(image, "tile", None):
        return image
    data = _unread(image)
    if data is not None:
        return decode(data).image
    try:
        with _file:
            image.load()
        return to_rgb(image, sixteen=image.mode != "I" and image.format is not None)
    except PictureError:
        raise
    except Exception as error:
        raise DamagedError(str(error) or type(error).__name__) from error


def _unread(image: Image.Image) -> bytes | None:
    """The file of an image that was opened and is as it was opened; ``None``: use its pixels."""
    file = getattr(image, "fp", None)
    if (
        not isinstance(image, ImageFile.ImageFile)
        or not image.tile
        or file is None
        or image.tell() != 0
        or image.decoderconfig  # a draft: smaller than its file
        or image.format not in (*formats(), "MPO")
    ):
        return None
    with _file:
        place = file.tell()
        try:
            file.seek(0, os.SEEK_SET)
            data: bytes = file.read(MAX_BYTES + 1)
        finally:
            file.seek(place)
    return data


def looks_like_picture(head: bytes) -> bool:
    """Whether a file that begins so is meant to be a picture of a known format.

    Args:
        head: its first 16 bytes or more.
    """
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith(_STARTS) or head[4:12] in (b"ftypavif", b"ftypavis")


def _looks_like(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data[:64].lstrip()[:1] == b"<":
        return "it is a web page or XML, not an image"
    if looks_like_picture(data[:16]):
        return "its beginning is damaged or cut off"
    return "not a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF image"
