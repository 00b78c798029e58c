"""JPEG: complete without its end mark, refused where data are missing, however they are coded."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine.data.pictures import decode, jpeg
from engine.errors import BrokenImageError

EOI = b"\xff\xd9"
CODINGS: dict[str, dict[str, object]] = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "coarse": {"progressive": True, "quality": 20},
    "fine": {"quality": 98, "subsampling": 0},
    "restarts": {"restart_marker_blocks": 3},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def soft(mode: str = "RGB", size: tuple[int, int] = (131, 77)) -> Image.Image:
    """Neither flat nor all grain."""
    grain = np.random.default_rng(1).integers(0, 256, (20, 26, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC).convert(mode)


def coded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("coding", CODINGS)
def test_whole_and_without_its_end(coding: str, mode: str) -> None:
    data = coded(soft(mode), **CODINGS[coding])
    wanted = Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    rest = b"\0\0 what a server appended \xff\xd8\xff\xe0"
    for found in (data, data[:-2], data[:-1], data + rest):
        assert decode(found).image.tobytes() == wanted
    assert decode(data[:-2], at_least=30).image.size == (66, 39)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("coding", CODINGS)
def test_cut_off(coding: str, mode: str) -> None:
    """At every length from a header on, closed by an end mark or not."""
    data = coded(soft(mode, (61, 45)), **CODINGS[coding])
    # What may go unseen is less than the last two blocks.
    minimum = max(len(data) // 20, 60)
    step = 7
    for length in range(60, len(data) - minimum, step):
        for cut in (data[:length], data[:length] + EOI):
            with pytest.raises(BrokenImageError, match="does not decode"):
                decode(cut)
            with pytest.raises(BrokenImageError, match="does not decode"):
                decode(cut, at_least=10)


def test_cut_at_a_restart_is_seen() -> None:
    data = coded(soft(), restart_marker_blocks=5)
    places = [at for at in range(len(data) - 1) if data[at] == 0xFF and data[at + 1] & 0xF8 == 0xD0]
    for place in places[len(places) // 2 :: 3]:
        for end in (place, place + 2):
            with pytest.raises(BrokenImageError, match="cut off"):
                decode(data[:end] + EOI)


def test_cut_between_two_scans_is_seen() -> None:
    data = coded(soft(), progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for place in scans[1:]:
        with pytest.raises(BrokenImageError, match="whole scans are missing"):
            decode(data[:place] + EOI)


def test_last_scan_of_single_bits() -> None:
    """The bits that refine the means come without codes: they are counted."""
    data = coded(soft(), progressive=True)
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    ends = [*scans[1:], len(data) - 2]
    # Tables stand between scans, so a scan with what follows it can be moved to the end.
    (refining,) = [n for n, at in enumerate(scans) if data[at + 11 : at + 14] == b"\0\0\x10"]
    start, end = scans[refining], ends[refining]
    while data[end - 1] == 0:
        end -= 1
    table = data.find(b"\xff\xc4", start, end)
    own = data[start : table if table >= 0 else end]
    moved = data[:start] + data[start + len(own) : -2] + own + EOI
    wanted = Image.open(io.BytesIO(data)).tobytes()
    assert decode(moved).image.tobytes() == wanted
    with pytest.raises(BrokenImageError, match="cut off"):
        decode(moved[:-4] + EOI)


def test_very_many_scans_and_segments_are_refused() -> None:
    data = coded(soft("L"))
    at = data.index(b"\xff\xda")
    header, scan = data[:at].replace(b"\xff\xc0", b"\xff\xc2"), data[at:-2]
    with pytest.raises(BrokenImageError, match="more than 200 scans"):
        decode(header + scan * 300 + EOI)
    comments = b"\xff\xfe\0\2" * 30_000
    with pytest.raises(BrokenImageError, match="segments"):
        decode(data[:2] + comments + data[2:])


def test_damaged_headers_of_scans() -> None:
    data = bytearray(coded(soft()))
    at = data.index(b"\xff\xda")
    for place, value in ((at + 4, 0), (at + 4, 200), (at + 5, 99)):
        bad = bytearray(data)
        bad[place] = value
        with pytest.raises(BrokenImageError):
            decode(bytes(bad))


def test_height_patched_upwards_is_seen() -> None:
    data = bytearray(coded(soft()))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 7] = (200).to_bytes(2, "big")
    with pytest.raises(BrokenImageError, match="cut off"):
        decode(bytes(data))


def test_two_pictures_in_one_file() -> None:
    buffer = io.BytesIO()
    soft().save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    found = decode(buffer.getvalue())
    assert found.image.size == (131, 77)


@given(st.lists(st.sampled_from([0, 1, 0xC4, 0xD0, 0xD7, 0xD8, 0xFF, 0xFF])), st.integers(0, 3))
def test_a_scan_ends_before_the_bytes_that_fill_up_to_its_marker(
    data: list[int], place: int
) -> None:
    """By the definition: the first run of 0xFF behind which stands neither 0 nor a restart."""
    wanted = len(data)
    for start in range(place, len(data)):
        behind = next((byte for byte in data[start:] if byte != 0xFF), 0)
        if data[start] == 0xFF and behind != 0 and not 0xD0 <= behind <= 0xD7:
            wanted = start
            break
    assert jpeg._end_of_scan(bytes(data), place) == wanted
