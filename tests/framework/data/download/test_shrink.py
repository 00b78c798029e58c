"""What is kept of a picture: size, bytes, and how like the picture it stays."""

from __future__ import annotations

import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data.download.shrink import UnpackError, shrink, unpack
from engine.errors import BrokenImageError


def smooth(width: int, height: int) -> Image.Image:
    """A picture without grain: a way of shrinking it shows in the result, a codec hardly does."""
    noise = np.random.default_rng(1).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "JPEG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_the_shorter_side(width: int, height: int, kind: str) -> None:
    kept = shrink(saved(smooth(width, height), kind), 64, 90, False)
    image = opened(kept.data)
    assert image.size == (kept.width, kept.height)
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert min(image.size) == min(64, width, height)
    # The shape stays, to the pixel.
    if min(width, height) > 64:
        assert abs(max(image.size) - max(width, height) * 64 / min(width, height)) <= 0.5
    else:
        assert image.size == (width, height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("side", [100, 130, 190, 300, 700])
def test_it_looks_as_exact_shrinking_would(kind: str, side: int) -> None:
    """Against an average over exact areas, by means of the picture eight times as large."""
    image = smooth(side * 4 // 3, side)
    kept = opened(shrink(saved(image, kind, quality=98), 64, 95, False).data)
    exact = image.resize((kept.width * 8, kept.height * 8), Image.Resampling.BICUBIC).reduce(8)
    difference = np.asarray(kept, int) - np.asarray(exact, int)
    assert np.abs(difference).mean() < 3.0
    assert abs(difference.mean()) < 0.5


def test_a_jpeg_that_is_right_keeps_its_bytes() -> None:
    data = saved(smooth(64, 80), quality=55)
    assert shrink(data, 64, 90, False).data == data


@pytest.mark.parametrize("kind", ["grey", "cmyk", "turned", "png", "larger"])
def test_others_are_encoded_anew(kind: str) -> None:
    image, exif = smooth(60, 50), Image.Exif()
    exif[0x0112] = 3
    data = {
        "grey": lambda: saved(image.convert("L")),
        "cmyk": lambda: saved(image.convert("CMYK")),
        "turned": lambda: saved(image, exif=exif),
        "png": lambda: saved(image, "PNG"),
        "larger": lambda: saved(smooth(66, 65)),
    }[kind]()
    kept = shrink(data, 64, 90, False)
    assert kept.data != data
    assert opened(kept.data).mode == "RGB"
    assert opened(kept.data).getexif().get(0x0112, 1) == 1


def test_the_turn_is_in_the_size_of_originals() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(smooth(300, 200), exif=exif)
    kept = shrink(data, 64, 90, True)
    assert (kept.data, kept.width, kept.height) == (data, 200, 300)


@pytest.mark.parametrize("size", [(70_000, 66), (66, 70_000), (70_000, 1)])
def test_too_long_and_thin(size: tuple[int, int]) -> None:
    with pytest.raises(BrokenImageError, match="too long and thin"):
        shrink(saved(Image.new("RGB", size), "PNG"), 64, 90, False)


def test_same_picture_same_bytes() -> None:
    data = saved(smooth(400, 300))
    assert shrink(data, 64, 90, False) == shrink(data, 64, 90, False)


@given(st.binary(max_size=300), st.integers(0, 400))
def test_unpacking_never_makes_more_than_it_may(data: bytes, maximum: int) -> None:
    packed = {
        0: data,
        1: gzip.compress(data),
        2: zlib.compress(data),
    }
    for packing, body in packed.items():
        if packing and len(data) > maximum:
            with pytest.raises(UnpackError, match="once unpacked"):
                unpack(body, packing, maximum)
        else:
            assert unpack(body, packing, maximum) == data


@given(st.binary(max_size=60), st.sampled_from([1, 2]))
def test_junk_is_no_packing(data: bytes, packing: int) -> None:
    with pytest.raises(UnpackError):
        unpack(b"\x1f" + data, packing, 10**6)
