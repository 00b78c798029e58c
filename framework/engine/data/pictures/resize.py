"""Makes a decoded picture smaller.

cykooz-resizer (https://github.com/Cykooz/cykooz.resizer) does what Pillow does, with SIMD, in a
third of the time; whatever SIMD a machine has, its pixels are the same. Where it has no wheel,
Pillow takes its place: the same filter, rounded a little otherwise.
"""

from __future__ import annotations

import PIL
from PIL import Image

try:
    import cykooz_resizer as simd  # type: ignore[import-untyped, import-not-found]
except ImportError:
    simd = None

Size = tuple[int, int]
Box = tuple[float, float, float, float]

_IN_PLACE = int(PIL.__version__.split(".")[0]) in (12, 13)
"""Whether the library may look into Pillow's memory, which spares five copies of the pixels. It
knows how these versions lay it out; with others, pixels go in and out as bytes."""

_GAP = 2
"""So many times the wanted size is left by whole steps by means of boxes, which cost little."""

_SCALES = (1, 2, 4, 8)
"""Of a JPEG's scale-on-load."""


def resize(image: Image.Image, size: Size, whole: Size) -> Image.Image:
    """Make an RGB picture smaller with the Catmull-Rom filter (Pillow's bicubic), antialiased.

    Args:
        image: RGB, maybe decoded at a half, a quarter or an eighth of its size.
        size: width and height wanted, in pixels; at most the picture's own.
        whole: width and height of the picture at its full size. A scaled one's are rounded up,
            and the rest of its last column and row is not part of the picture.
    """
    scale = next(s for s in _SCALES if image.size == (-(-whole[0] // s), -(-whole[1] // s)))
    width, height = whole[0] / scale, whole[1] / scale
    if simd is None:
        box = (0, 0, width, height)
        return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=_GAP)
    step = min(a // (_GAP * b) for a, b in zip(image.size, size, strict=True))
    if step > 1:
        image = image.reduce(step)
        width, height = width / step, height / step
    return _convolved(image, size, (0, 0, width, height))


def shorter_side_to(image: Image.Image, side: int, whole: Size) -> Image.Image:
    """A picture whose shorter side is ``side``, where it is longer; see :func:`resize`.

    It has the size that ``SquarePreprocess`` scales to, which then has nothing left to scale.

    Args:
        image: RGB, maybe decoded at a half, a quarter or an eighth of its size.
        side: in pixels.
        whole: width and height of the picture at its full size.
    """
    short, long = min(whole), max(whole)
    known = any(image.size == (-(-whole[0] // s), -(-whole[1] // s)) for s in _SCALES)
    if min(image.size) <= side or not known:
        return image
    scaled = int(side * long / short)
    return resize(image, (side, scaled) if whole[0] <= whole[1] else (scaled, side), whole)


def _convolved(image: Image.Image, size: Size, box: Box) -> Image.Image:
    filter_ = simd.ResizeAlg.convolution(simd.FilterType.catmull_rom)
    options = simd.ResizeOptions(filter_, use_alpha=False, crop_box=simd.CropBox(*box))
    if _IN_PLACE:
        found = Image.new("RGB", size)
        simd.Resizer().resize_pil(image, found, options)
        return found
    source = simd.ImageData(*image.size, simd.PixelType.U8x4, image.tobytes("raw", "RGBX"))
    target = simd.ImageData(*size, simd.PixelType.U8x4)
    simd.Resizer().resize(source, target, options)
    return Image.frombytes("RGB", size, target.get_buffer(), "raw", "RGBX")
