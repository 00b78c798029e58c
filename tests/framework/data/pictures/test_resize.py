"""Pictures made smaller: with SIMD as with Pillow, and what lies at the edges."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data.pictures import decode
from engine.data.pictures import resize as module
from engine.data.pictures.resize import resize


def smooth(width: int, height: int) -> Image.Image:
    """Without grain and away from black and white, where filters that overshoot are cut off."""
    noise = np.random.default_rng(2).integers(60, 200, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def ramp(width: int, height: int) -> Image.Image:
    """Red grows with x, green with y: the colour of a pixel says where it lies."""
    x = (np.arange(width) + 0.5) * 200 / width + 20
    y = (np.arange(height) + 0.5) * 200 / height + 20
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = np.rint(x)[None, :], np.rint(y)[:, None]
    return Image.fromarray(pixels)


def without_simd(monkeypatch: pytest.MonkeyPatch, image: Image.Image, size: tuple[int, int]) -> int:
    """The largest difference between Pillow's pixels and ours."""
    ours = np.asarray(resize(image, size, image.size), int)
    with monkeypatch.context() as patch:
        patch.setattr(module, "simd", None)
        pillows = np.asarray(resize(image, size, image.size), int)
    return int(np.abs(ours - pillows).max())


@pytest.mark.parametrize("size", [(300, 260), (531, 409), (1400, 1067), (97, 2000)])
def test_as_pillow_does_it(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_simd(monkeypatch, smooth(*size), (80, 64)) <= 2


@settings(max_examples=60, deadline=None)
@given(st.integers(65, 900), st.integers(65, 900), st.integers(1, 64), st.integers(1, 64))
def test_nothing_is_moved(width: int, height: int, to_width: int, to_height: int) -> None:
    found = np.asarray(resize(ramp(width, height), (to_width, to_height), (width, height)), int)
    wanted = np.asarray(ramp(to_width, to_height), int)
    assert found.shape == (to_height, to_width, 3)
    # The filter has less to look at on one side of an edge, which draws it inwards a little.
    inner = (
        slice(2, -2) if to_height > 4 else slice(0),
        slice(2, -2) if to_width > 4 else slice(0),
    )
    assert np.abs(found - wanted)[inner].max(initial=0) <= 2


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_scaled_jpeg_ends_within_its_last_pixel(scale: int) -> None:
    """Of 65 half columns the last may be half filled: what counts is the picture at full size."""
    width, height = 64 * scale + 1, 66 * scale + 1
    buffer = io.BytesIO()
    ramp(width, height).save(buffer, "JPEG", quality=100, subsampling=0)
    decoded = decode(buffer.getvalue(), at_least=64)
    assert decoded.image.size == (65, 67)
    found = np.asarray(resize(decoded.image, (48, 50), (width, height)), float)
    wanted = np.asarray(ramp(48, 50), float)
    shift = (found - wanted)[4:-4, 4:-4, :2].mean(axis=(0, 1))
    # Taken for picture, the rest of the last pixel would move the ramp by 0.75 and more.
    assert np.abs(shift).max() < 0.4


@pytest.mark.parametrize("size", [(300, 260), (1401, 1067), (97, 2000), (2500, 2500)])
def test_by_way_of_bytes(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cykooz_resizer")
    grain = np.random.default_rng(4).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    results = set()
    for in_place in (True, False):
        monkeypatch.setattr(module, "_IN_PLACE", in_place and module._IN_PLACE)
        found = resize(Image.fromarray(grain), (80, 64), size)
        assert (found.mode, found.size) == ("RGB", (80, 64))
        results.add(found.tobytes())
    assert len(results) == 1


def test_same_pixels_whatever_simd_there_is() -> None:
    simd = pytest.importorskip("cykooz_resizer")
    grain = np.random.default_rng(3).integers(0, 255, (411, 373, 3), dtype=np.uint8)
    image = Image.fromarray(grain)
    source = simd.ImageData(*image.size, simd.PixelType.U8x4, image.tobytes("raw", "RGBX"))
    filter_ = simd.ResizeAlg.convolution(simd.FilterType.catmull_rom)
    results = set()
    for extensions in simd.CpuExtensions:
        resizer = simd.Resizer()
        resizer.cpu_extensions = extensions  # one that the machine lacks stays as it was
        target = simd.ImageData(101, 110, simd.PixelType.U8x4)
        resizer.resize(source, target, simd.ResizeOptions(filter_, use_alpha=False))
        results.add(target.get_buffer())
    assert len(results) == 1
