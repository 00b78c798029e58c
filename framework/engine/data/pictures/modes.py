"""Pictures in memory become RGB: of any of Pillow's modes, or arrays; upright, over white.

The range of numbers that are not 8 bits each is found like this, the same for both:

- integers: none above 255: 8 bits (Pillow's own conversions keep values so); otherwise 16 bits, of
  which the upper eight are taken. A file that says it has 16 bits is believed.
- floats: from 0 to 1, or from 0 to 255. Those whose largest value lies between 1 and 8 could be
  either, and are refused, as are negative values, larger ones, and those that are not finite.

numpy is imported where it is needed: few pictures of a download need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from .problem import PictureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

SIDEWAYS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
"""Turns that exchange width and height."""

_XMP = ("xmp", "XML:com.adobe.xmp")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_KEYED = ("1", "L", "P", "RGB")
"""Modes in which Pillow understands a single transparent colour."""
_DOUBTFUL = 8
"""Below it, floats above 1 are neither clearly from 0 to 1 nor clearly from 0 to 255."""


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What makes a picture upright by its EXIF (never by XMP); ``None`` where it stands upright."""
    try:
        if any(key in image.info for key in _XMP):  # Pillow would mix it in
            exif = Image.Exif()
            exif.load(image.info.get("exif") or b"")
        else:
            exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF in a sound picture: the picture counts
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def is_plain(image: Image.Image) -> bool:
    """Whether it is RGB with nothing beside its pixels: no work is needed."""
    return image.mode == "RGB" and not image.info and getattr(image, "_exif", None) is None


def to_rgb(image: Image.Image, *, sixteen: bool = False) -> Image.Image:
    """A loaded picture of any mode as RGB: a new one, upright, transparency over white.

    Args:
        image: of any mode.
        sixteen: its file says that integers have 16 bits.

    Raises:
        PictureError: the range of its values is not clear.
    """
    if not min(image.size):
        raise PictureError(f"it is empty ({image.width} x {image.height} pixels)")
    turn = turn_of(image)
    found = _colours(image, sixteen)
    if turn is not None:
        found = found.transpose(turn)
    elif found is image:
        found = image.copy()
    found.info = {}  # what it says of the orientation and of transparency is done
    return found


def _colours(image: Image.Image, sixteen: bool) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I") or mode == "F":
        return _wide(image, sixteen)
    if mode == "LAB":
        return _lab(image)
    if mode == "La":  # Pillow converts it to nothing else
        image = image.convert("LA")
    if image.format == "BMP" and mode == "RGBA" and image.getchannel("A").getbbox() is None:
        return image.convert("RGB")  # a program that knew of no transparency left zeros there
    keyed = image.mode in _KEYED and "transparency" in image.info
    if keyed or image.mode in _ALPHA or (mode == "P" and image.has_transparency_data):
        return _over_white(image.convert("RGBA"))
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise PictureError(f"pictures of Pillow's mode {mode} cannot be read") from error


def _over_white(clear: Image.Image) -> Image.Image:
    white = Image.new("RGBA", clear.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, clear).convert("RGB")


def _wide(image: Image.Image, sixteen: bool) -> Image.Image:
    """Grey of 16 or 32 bits, or of floats; one level may be transparent."""
    import numpy as np

    values = np.asarray(image)
    grey = _eight_bits(values, sixteen)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b* of white point D50 (as in ICC profiles and TIFF) to sRGB.

    Source: CIE 15:2004; the matrix is sRGB's (IEC 61966-2-1), adapted to D50 by Bradford's method.
    """
    import numpy as np

    lab = np.asarray(image)
    light = lab[..., 0].astype(np.float32) * (100 / 255)
    a, b = (lab[..., band].astype(np.int8).astype(np.float32) for band in (1, 2))
    middle = (light + 16) / 116
    ratios = np.stack([middle + a / 500, middle, middle - b / 200], axis=-1)
    cubes = np.where(ratios > 6 / 29, ratios**3, (ratios - 4 / 29) * (108 / 841))
    xyz = cubes * np.array([0.96422, 1.0, 0.82521], np.float32)
    matrix = np.array([[3.1338561, -1.6168667, -0.4906146],
                       [-0.9787684, 1.9161415, 0.0334540],
                       [0.0719453, -0.2289914, 1.4052427]], np.float32)  # fmt: skip
    linear = np.clip(xyz @ matrix.T, 0, 1)
    shown = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(shown * 255).astype(np.uint8))


def _eight_bits(values: NDArray[Any], sixteen: bool) -> NDArray[Any]:
    """Integers, floats or truth values as uint8, by the rule above.

    Raises:
        PictureError: the rule does not say how.
    """
    import numpy as np

    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError("its values are not all finite numbers")
    shown = f"its values reach from {low:g} to {high:g}"
    if low < 0:
        raise PictureError(f"{shown}; they must not be negative")
    if values.dtype.kind != "f":
        if high > 65535:
            raise PictureError(f"{shown}; they must fit into 8 or 16 bits")
        wide = sixteen or high > 255
        return (values >> 8 if wide else values).astype(np.uint8)
    if high > 255 or 1 < high < _DOUBTFUL:
        raise PictureError(f"{shown}; floats are taken from 0 to 1, or from 0 to 255")
    scaled = values.astype(np.float32) * (255 if high <= 1 else 1)
    return np.rint(scaled).astype(np.uint8)


def array_problem(array: Any) -> str | None:
    """Why a numpy array cannot be a picture, by its shape and dtype; ``None`` where it can."""
    kind, shape = array.dtype, tuple(array.shape)
    if not (kind.kind in "bf" or (kind.kind == "u" and kind.itemsize <= 2)):
        return f"its dtype is {kind}, not uint8, uint16, bool or a float"
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        first = len(shape) == 3 and shape[0] in (1, 3, 4)
        advice = "; move the channels last: array.transpose(1, 2, 0)" if first else ""
        return f"its shape is {shape}, not [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]{advice}"
    return None if array.size else f"it is empty (shape {shape})"


def from_array(array: NDArray[Any]) -> Image.Image:
    """An array as a picture: RGB, transparency over white.

    Args:
        array: [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; uint8, uint16, bool or floats.

    Raises:
        PictureError: another shape or dtype, or the range of its values is not clear.
    """
    import numpy as np

    problem = array_problem(array)
    if problem:
        raise PictureError(problem)
    values = np.ascontiguousarray(_eight_bits(np.asarray(array), sixteen=False))
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    return to_rgb(Image.fromarray(values))
