"""JPEG: where its data end, and whether they are all there.

libjpeg fills what is missing with grey and only counts a warning, which Pillow does not pass on.
So the scans are checked here: their headers by reading them, the data of the last one by what the
decoder asks for beyond them.

Source: ITU-T T.81 (JPEG), Annexes B and G; libjpeg's jdhuff.c for when it asks for more bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from PIL import Image, ImageFile

from .problem import DamagedError

_MAX_SCANS = 200
"""Scans of a picture. Progressive encoders write about ten; each costs a pass over all blocks."""
_MAX_SEGMENTS = 20_000

_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""Begins with one literal byte, which ``re`` looks for twenty times as fast as for a run of it."""
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")

_EOI, _SOS, _DRI = 0xD9, 0xDA, 0xDD
_HUFFMAN = (0xC0, 0xC1, 0xC2)
"""Frames whose end can be checked: baseline, extended and progressive, all coded by Huffman."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})

_ONES = b"\xff\x00"
"""Eight bits of one, as a scan spells them. No code consists of ones alone, so a decoder that still
wants blocks spends 17 bits on each; between scans it is noise, which is skipped at once."""
_SPARE = 8 * _ONES
"""More than a decoder reads ahead (57 bits), less than two blocks take."""

CUT_OFF = "it is cut off: data of its last rows are missing"


@dataclass
class _Frame:
    kind: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]
    known: dict[int, list[int | None]] = field(default_factory=dict)
    """Of each component the bits of each of its 64 coefficients that are still missing."""

    def blocks(self, components: list[int]) -> tuple[int, int]:
        """MCUs of a scan, and blocks of an MCU."""
        across = max(h for h, _ in self.sampling.values())
        down = max(v for _, v in self.sampling.values())
        if len(components) > 1:
            mcus = -(-self.width // (8 * across)) * -(-self.height // (8 * down))
            return mcus, sum(h * v for h, v in (self.sampling[c] for c in components))
        h, v = self.sampling[components[0]]
        wide, high = -(-self.width * h // across), -(-self.height * v // down)
        return -(-wide // 8) * -(-high // 8), 1


@dataclass(frozen=True)
class JpegLayout:
    """What the markers of a file say.

    Attributes:
        end: of the data that count, in bytes; what follows is an end mark, or another picture.
        checked: whether the data of the last scan can be checked by decoding.
    """

    end: int
    checked: bool


def layout(data: bytes) -> JpegLayout:
    """Read the markers of a JPEG up to the end of its picture.

    Raises:
        DamagedError: scans are missing or cut off, or there are too many.
    """
    frame: _Frame | None = None
    interval = scans = 0
    place, checked = 2, False
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, place)
        if found is None:
            place = len(data)
            break
        kind, start = found[1][0], found.end()
        if kind == _EOI:
            place = found.start()
            break
        if kind in _BARE:
            place = start
            continue
        length = int.from_bytes(data[start : start + 2], "big")
        if start + 2 > len(data) or start + length > len(data):
            place = found.start()
            break
        body, place = data[start + 2 : start + length], start + max(length, 2)
        if kind in _FRAMES and frame is None:
            frame = _frame(kind, body)
            if frame is None:
                return JpegLayout(len(data), False)  # nothing that libjpeg reads by scans
        elif kind == _DRI:
            interval = int.from_bytes(body[:2], "big")
        elif kind == _SOS:
            if frame is None:
                raise DamagedError("a scan comes before its frame")
            scans += 1
            if scans > _MAX_SCANS:
                raise DamagedError(f"it has more than {_MAX_SCANS} scans")
            end = _end_of_scan(data, place)
            components, checked = _scan(frame, body, data[place:end], interval)
            place = end
            if frame.kind != 0xC2 and set(components) == set(frame.sampling):
                break
    else:
        raise DamagedError(f"it has more than {_MAX_SEGMENTS:,} segments")
    if frame is not None:
        _all_there(frame)
    return JpegLayout(place, checked)


def _end_of_scan(data: bytes, place: int) -> int:
    """Where the data of a scan end that begin at ``place``.

    They end at a marker, or at the bytes that fill up to it.
    """
    after = _AFTER_SCAN.search(data, place)
    if after is None:
        return len(data)
    end = after.start()
    while end > place and data[end - 1] == 0xFF:
        end -= 1
    return end


def _frame(kind: int, body: bytes) -> _Frame | None:
    if kind not in _HUFFMAN or len(body) < 6 or len(body) < 6 + 3 * body[5]:
        return None
    sampling = {}
    for at in range(6, 6 + 3 * body[5], 3):
        across, down = body[at + 1] >> 4, body[at + 1] & 15
        if not across or not down:
            return None
        sampling[body[at]] = across, down
    high, wide = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return _Frame(kind, wide, high, sampling) if sampling and high and wide else None


def _scan(frame: _Frame, body: bytes, data: bytes, interval: int) -> tuple[list[int], bool]:
    """Note what a scan brings; its components, and whether decoding can check its data."""
    count = body[0] if body else 0
    components = list(body[1 : 1 + 2 * count : 2])
    if not components or len(body) < 4 + 2 * count or not set(components) <= set(frame.sampling):
        raise DamagedError("the header of a scan is damaged")
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    high, low = bits >> 4, bits & 15
    if frame.kind != 0xC2:
        first, last, high, low = 0, 63, 0, 0
    for component in components:
        known = frame.known.setdefault(component, [None] * 64)
        known[first : last + 1] = [low] * (min(last, 63) + 1 - first)
    mcus, each = frame.blocks(components)
    if interval and len(_RESTART.findall(data)) < -(-mcus // interval) - 1:
        raise DamagedError(CUT_OFF)
    if high and not first:  # one bit a block, without codes
        stuffed = data.count(b"\xff\x00") + 2 * len(_RESTART.findall(data))
        if 8 * (len(data) - stuffed) < mcus * each:
            raise DamagedError(CUT_OFF)
        return components, False
    return components, True


def _all_there(frame: _Frame) -> None:
    """Raises DamagedError where a component, or the last bits of a coefficient, never came."""
    for component in frame.sampling:
        if any(low != 0 for low in frame.known.get(component, [None])):
            raise DamagedError("it is cut off: whole scans are missing")


def load(image: ImageFile.ImageFile, data: bytes) -> None:
    """Decode an opened JPEG (maybe with a draft set) from its bytes, all of which must be there.

    The end mark may be missing.

    Raises:
        DamagedError: data are missing.
        OSError: the data are damaged.
    """
    found = layout(data)
    if not found.checked:
        image.load()
        return
    image.load_prepare()
    name, extents, _, arguments = image.tile[0]
    decoder = Image._getdecoder(image.mode, name, arguments, image.decoderconfig)
    try:
        decoder.setimage(image.im, extents)
        complete, error = _feed(decoder, data[: found.end])
    finally:
        decoder.cleanup()
    if error < 0:
        raise OSError("its data are damaged")
    if not complete:
        raise DamagedError(CUT_OFF)
    image.tile = []


def _feed(decoder: object, data: bytes) -> tuple[bool, int]:
    """Decode; whether all data were there, and libjpeg's error (0: none)."""
    rest, waits = data, False
    for more in (b"", _SPARE, *[_ONES] * 6):
        rest += more
        used, error = decoder.decode(rest)  # type: ignore[attr-defined]
        if used < 0:
            return error >= 0, error
        rest = rest[used:]
        # Past its last block a decoder takes all there is; before that, it keeps what it needs.
        waits = waits or (more == _ONES and bool(rest))
    if waits:
        return False, 0
    used, error = decoder.decode(rest + b"\xff\xd9")  # type: ignore[attr-defined]
    return used < 0 and error >= 0, min(error, 0)
