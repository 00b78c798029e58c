"""Pictures from outside: one reader for everything that uses them. Imports no torch.

A picture is a path, a file's bytes, an open file, a Pillow image or a numpy array; it becomes RGB,
upright by its EXIF, with what is transparent over white. ``engine.data.pictures.modes`` says how
the range of numbers of other than 8 bits is found, ``engine.data.pictures.reader`` what a file may
be.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast

from PIL import Image

from engine.core.regular_file import read_regular
from engine.data.pictures import modes, reader
from engine.data.pictures.problem import PictureError
from engine.data.pictures.reader import MAX_BYTES, MAX_PIXELS, Decoded, formats, looks_like_picture
from engine.errors import BrokenImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Decoded",
    "Picture",
    "decode",
    "formats",
    "is_file",
    "looks_like_picture",
    "open_image",
    "problem_of",
    "read_picture",
    "rgb",
]

Picture: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]"
"""A path, a file's bytes, a file open for reading bytes, a Pillow image, or an array [H, W],
[H, W, 1], [H, W, 3] or [H, W, 4] of uint8, uint16, bool or floats."""

_reading = threading.Lock()
"""Held while an open file is read: one file may be given twice, to two threads."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _explained(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The reader's function, with Engine's error."""

    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except PictureError as error:
            raise BrokenImageError(str(error)) from error

    return call


def decode(data: bytes, *, at_least: int | None = None) -> Decoded:
    """:func:`engine.data.pictures.reader.decode` of a file's bytes.

    Raises:
        BrokenImageError: no picture of a known format, damaged, cut off or too large.
    """
    return _explained(reader.decode)(data, at_least=at_least)


def rgb(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode as RGB, upright by its EXIF, transparency over white.

    What is that already is given back as it is; one that was opened and not loaded is read from
    its file, as :func:`decode` does.

    Raises:
        BrokenImageError: damaged, cut off, too large, or the range of its values is not clear.
    """
    return _explained(reader.from_image)(image)


def open_image(path: Path) -> Image.Image:
    """Decode a file whole: RGB, turned as its EXIF says, transparency over white.

    Of an animation the first frame is taken; 16 bits a channel become 8. The file is closed.

    Raises:
        BrokenImageError: missing, no image of a known format, damaged, cut off or too large; the
            message names the file, ``reason`` does not.
    """
    try:
        return decode(read_regular(path, MAX_BYTES)).image
    except BrokenImageError as error:
        reason = error.reason
        raise BrokenImageError(f"image {path}: {reason}", reason=reason) from error
    except FileNotFoundError as error:
        reason = "no such file"
        raise BrokenImageError(f"image {path}: {reason}", reason=reason) from error
    except Exception as error:  # no permission, a pipe, a name too long, a null byte
        reason = f"cannot be read: {error or type(error).__name__}"
        raise BrokenImageError(f"image {path}: {reason}", reason=reason) from error


def problem_of(item: object) -> str | None:
    """Why something cannot be a picture, without reading it; ``None`` where it may be one."""
    if isinstance(item, (str, os.PathLike, bytes, bytearray, memoryview)):
        return None
    if is_file(item):
        text = isinstance(item, io.TextIOBase)
        return "it is a file that was opened as text; open it with mode 'rb'" if text else None
    if isinstance(item, Image.Image):
        return None if min(item.size) else f"it is empty ({item.width} x {item.height} pixels)"
    if type(item).__module__.partition(".")[0] == "torch":
        return "a tensor is not a picture; give tensor.permute(1, 2, 0).numpy() of [3, H, W]"
    if not _is_array(item):
        return f"a {type(item).__name__} is not a picture"
    return modes.array_problem(item)


def is_file(item: object) -> bool:
    """Whether something is an open file, or reads like one."""
    return callable(getattr(item, "read", None))


def _read_file(file: IO[bytes]) -> bytes:
    """An open file's bytes, from its beginning where it can go there; its place is kept."""
    with _reading:
        place = None
        with contextlib.suppress(AttributeError, OSError, ValueError):
            place = file.tell()
            file.seek(0)
        data = file.read(MAX_BYTES + 1)
        if place is not None:
            file.seek(place)
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise BrokenImageError(f"the file gave a {type(data).__name__} instead of bytes")
    return bytes(data)


def _is_array(item: object) -> bool:
    import numpy as np

    return isinstance(item, np.ndarray)


def read_picture(item: Picture) -> Image.Image:
    """Whatever a picture is given as, RGB.

    Raises:
        BrokenImageError: it cannot be read, or is not a picture (:func:`problem_of`).
    """
    if isinstance(item, Image.Image):
        return rgb(item)
    if isinstance(item, (bytes, bytearray, memoryview)):
        return decode(bytes(item)).image
    if isinstance(item, (str, os.PathLike)):
        return open_image(Path(item))
    if is_file(item) and problem_of(item) is None:
        return decode(_read_file(cast("IO[bytes]", item))).image
    problem = problem_of(item)
    if problem is not None:
        raise BrokenImageError(problem)
    return _explained(modes.from_array)(cast("NDArray[Any]", item))
