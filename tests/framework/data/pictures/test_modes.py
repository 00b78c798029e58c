"""Pictures in memory: every mode of Pillow and every array that is clear; others are refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from engine.data.pictures import problem_of, read_picture, rgb
from engine.errors import BrokenImageError

GREY = np.arange(0, 252, 4, dtype=np.uint8).reshape(7, 9)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def of(image: Image.Image) -> np.ndarray[Any, Any]:
    found = read_picture(image)
    assert found.mode == "RGB"
    assert found.info == {}
    return np.asarray(found)


def grey(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.stack([values] * 3, axis=-1)


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "P", "PA"])
def test_modes_of_colour(mode: str) -> None:
    start = Image.fromarray(COLOUR)
    if mode in ("P", "PA"):
        image = start.quantize(63).convert(mode)
    else:
        image = start.convert("RGBA").convert(mode) if mode == "RGBa" else start.convert(mode)
    assert np.abs(of(image).astype(int) - COLOUR).max() <= (12 if mode in ("HSV", "YCbCr") else 3)


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"])
def test_modes_of_grey_as_pillow_converts_to_them(mode: str) -> None:
    """Which keeps values from 0 to 255, in more bits too."""
    start = Image.fromarray(GREY)
    image = start.convert("LA").convert("La") if mode == "La" else start.convert(mode)
    assert np.array_equal(of(image), grey(GREY))


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "I;16L"])
def test_sixteen_bits(mode: str) -> None:
    wide = GREY.astype(np.uint16) * 257
    if mode == "I":
        image = Image.fromarray(wide.astype(np.int32))
    else:
        order = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (9, 7), wide.astype(order).tobytes())
    assert np.array_equal(of(image), grey(GREY))
    key = int(wide[2, 3])
    image.info["transparency"] = key
    expected = grey(GREY)
    expected[wide == key] = 255
    assert np.array_equal(of(image), expected)


def test_black_and_white() -> None:
    image = Image.fromarray(GREY).convert("1")
    assert np.array_equal(of(image)[..., 0] == 255, np.asarray(image))


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa", "P", "L", "RGB", "1", "I;16"])
def test_transparency_lies_over_white(mode: str) -> None:
    if mode in ("LA", "RGBA"):
        image = Image.new(mode, (4, 4), 0)
    elif mode in ("La", "RGBa"):
        image = Image.new("LA" if mode == "La" else "RGBA", (4, 4), 0).convert(mode)
    elif mode == "PA":
        image = Image.new("RGBA", (4, 4), 0).convert("PA")
        image.putalpha(0)
    else:
        image = Image.new(mode, (4, 4), 0)
        image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    assert of(image).min() == 255


def test_half_transparent() -> None:
    assert of(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))[0, 0].tolist() == [127] * 3
    assert of(Image.new("LA", (1, 1), (0, 128)))[0, 0].tolist() == [127] * 3
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 0, 255, 0, 0, 255], "RGBA")
    palette.putpixel((1, 0), 1)
    assert of(palette)[0].tolist() == [[255] * 3, [255, 0, 0]]


def test_lab_as_colour_management_has_it() -> None:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    to = ImageCms.buildTransform(profiles[1], profiles[0], "RGB", "LAB")
    back = ImageCms.buildTransform(*profiles, "LAB", "RGB")
    image = ImageCms.applyTransform(Image.fromarray(COLOUR // 2 + 60), to)
    assert image is not None
    expected = ImageCms.applyTransform(image, back)
    assert np.abs(of(image).astype(int) - np.asarray(expected)).max() <= 4


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_and_from_0_to_255(dtype: type) -> None:
    whole = COLOUR.astype(dtype)
    for values in (whole, whole / 255):
        assert np.abs(of(values).astype(int) - COLOUR).max() <= 1  # type: ignore[arg-type]
    share = Image.fromarray(GREY.astype(np.float32) / 255)
    assert np.array_equal(of(share), grey(GREY))


UNCLEAR: dict[str, Any] = {
    "a little above 1": GREY / 248 * 1.02,
    "up to 7": GREY / 40.0,
    "negative": GREY / 127.5 - 1,
    "normalised": (COLOUR / 255 - 0.45) / 0.27,
    "above 255": GREY * 257.0,
    "not a number": np.where(GREY == 40, np.nan, GREY),
    "infinite": np.where(GREY == 40, np.inf, GREY / 255),
    "image a little above 1": Image.fromarray((GREY / 200).astype(np.float32)),
    "image of negative numbers": Image.fromarray(GREY.astype(np.int32) - 5),
    "image of 24 bits": Image.fromarray(GREY.astype(np.int32) * 65536),
    "empty image": Image.new("RGB", (0, 5)),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_is_not_clear_is_refused(name: str) -> None:
    with pytest.raises(BrokenImageError, match=r"values|empty"):
        read_picture(UNCLEAR[name])


ALPHA = np.concatenate([COLOUR, np.zeros_like(COLOUR[..., :1])], axis=-1)
ARRAYS: dict[str, tuple[Any, Any]] = {
    "grey": (GREY, grey(GREY)),
    "grey with an axis": (GREY[..., None], grey(GREY)),
    "colour": (COLOUR, COLOUR),
    "transparent": (ALPHA, np.full_like(COLOUR, 255)),
    "16 bits of grey": (GREY.astype(np.uint16) * 257, grey(GREY)),
    "16 bits of colour": (COLOUR.astype(np.uint16) * 256, COLOUR),
    "16 bits, other order of bytes": ((GREY.astype(np.uint16) * 257).astype(">u2"), grey(GREY)),
    "16 bits that hold 8": (COLOUR.astype(np.uint16), COLOUR),
    "truth": (GREY > 90, grey(np.where(GREY > 90, 255, 0))),
    "float transparent": (ALPHA / 255, np.full_like(COLOUR, 255)),
    "strides": (np.repeat(COLOUR, 2, axis=0)[::2][:, ::-1], COLOUR[:, ::-1]),
    "read-only": (np.broadcast_to(np.uint8(7), (3, 4)), np.full((3, 4, 3), 7)),
    "big": (np.full((2, 3), 1.0), np.full((2, 3, 3), 255)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    array, expected = ARRAYS[name]
    assert problem_of(array) is None
    assert np.array_equal(of(array), expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY.astype(np.int64), "dtype is int64"),
        (GREY.astype(np.int8), "dtype is int8"),
        (GREY.astype(np.uint32), "dtype is uint32"),
        (GREY.astype(complex), "dtype is complex"),
        (GREY.astype(object), "dtype is object"),
        (GREY.astype(str), "dtype is <U"),
        (GREY[0], r"shape is \(9,\)"),
        (COLOUR[..., :2], r"shape is \(7, 9, 2\)"),
        (np.zeros((5, 5, 5), np.uint8), "shape is"),
        (COLOUR.transpose(2, 0, 1), "channels last"),
        (COLOUR[None], "shape is"),
        (np.zeros((0, 4), np.uint8), "empty"),
        (np.zeros((4, 0, 3), np.uint8), "empty"),
        (np.uint8(3), "uint8 is not a picture"),
        (5, "int is not a picture"),
        (None, "NoneType is not a picture"),
        ([[1, 2]], "list is not a picture"),
    ],
)
def test_what_is_not_a_picture(array: Any, words: str) -> None:
    with pytest.raises(BrokenImageError, match=words):
        read_picture(array)


def test_tensors_are_reported_what_to_give() -> None:
    import torch

    with pytest.raises(BrokenImageError, match=r"permute\(1, 2, 0\)"):
        read_picture(torch.zeros(3, 4, 4))  # type: ignore[arg-type]


def test_exif_of_an_image_in_memory_is_applied_once() -> None:
    image = Image.fromarray(COLOUR)
    image.getexif()[0x0112] = 6
    turned = rgb(image)
    assert np.array_equal(np.asarray(turned), np.rot90(COLOUR, -1))
    assert rgb(turned) is turned
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 8
    image.save(buffer, "PNG", exif=exif)
    opened = Image.open(buffer)
    for each in (opened, opened.copy(), opened.convert("RGBA"), Image.open(buffer)):
        assert np.array_equal(of(each), np.rot90(COLOUR))


def test_an_image_of_plain_rgb_is_given_back() -> None:
    image = Image.fromarray(COLOUR)
    assert rgb(image) is image
