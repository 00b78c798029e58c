"""Near duplicates by MinHash (Broder 1997), with banding (Leskovec et al., *Mining of Massive
Datasets*, section 3.4), vectorised over many texts.

A text is the set of the character 3-grams of its words (lower case, parted and framed by single
spaces). Two texts are near duplicates where the Jaccard similarity of these sets is 0.8 or more.

- 8 bands of 4 minima each propose pairs: texts of similarity s meet with probability
  ``1 - (1 - s^4)^8`` (0.985 at 0.8, 0.9995 at 0.9).
- A sketch of 64 further minima, two bits each (Li and Koenig 2010), judges a pair of which nothing
  else is at hand: its estimate of s has a standard error of 0.06 at 0.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.text.spill import Rows, mix, runs

THRESHOLD = 0.8
BANDS, BAND_ROWS, SKETCH = 8, 4, 64
_COUNT = BANDS * BAND_ROWS + SKETCH

BAND = np.dtype([("hash", "u8"), ("text", "u8"), ("sketch", "u8", 2)])
"""A text's band: its key, the text's number, the text's sketch."""

_random = np.random.default_rng(20_260_101)
_FACTORS = _random.integers(0, 1 << 31, _COUNT, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_TERMS = _random.integers(0, 1 << 32, _COUNT, dtype=np.uint32)
_LOW_BITS = np.uint64(0x5555555555555555)
_NEIGHBOURS = 3


def shingles(words: Sequence[str]) -> set[str]:
    """The set that stands for a text."""
    text = f" {' '.join(words)} "
    return {text[i : i + 3] for i in range(len(text) - 2)}


def jaccard(a: set[str], b: set[str]) -> float:
    """Size of what is common over size of all; 1 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 1.0


def bands(texts: Sequence[Sequence[str]], numbers: NDArray[np.uint64]) -> Rows:
    """The bands of texts, each given by its words.

    Args:
        texts: none without a word.
        numbers: of each text.

    Returns:
        ``BANDS`` rows of ``BAND`` a text, band by band.
    """
    rows = np.zeros((BANDS, len(texts)), BAND)
    if not texts:
        return rows.reshape(-1)
    minima = _minima(texts)
    rows["text"] = numbers
    rows["sketch"] = _sketch(minima[BANDS * BAND_ROWS :])
    for band in range(BANDS):
        key = np.full(len(texts), band, np.uint64)
        for row in range(BAND_ROWS):
            key = mix(key ^ minima[band * BAND_ROWS + row])
        rows["hash"][band] = key
    return rows.reshape(-1)


def _minima(texts: Sequence[Sequence[str]]) -> NDArray[np.uint32]:
    """Minima (``_COUNT``, texts) of every permutation over each text's shingles."""
    framed = [f" {' '.join(words)} " for words in texts]
    codes = np.frombuffer("".join(framed).encode("utf-32-le"), np.uint32)
    lengths = np.fromiter(map(len, framed), np.int64, len(framed))
    hashes = codes[:-2] * np.uint32(0x9E3779B1)
    hashes += codes[1:-1] * np.uint32(0x85EBCA77)
    hashes += codes[2:] * np.uint32(0xC2B2AE3D)
    inside = np.ones(len(codes), bool)
    ends = np.cumsum(lengths)
    inside[ends - 1] = inside[ends - 2] = False  # shingles that would reach into the next text
    hashes = _mix32(hashes[inside[:-2]])
    starts = np.append(0, np.cumsum(lengths - 2)[:-1])
    minima = np.empty((_COUNT, len(texts)), np.uint32)
    moved = np.empty_like(hashes)
    for i in range(_COUNT):
        np.multiply(hashes, _FACTORS[i], out=moved)
        moved += _TERMS[i]
        np.minimum.reduceat(moved, starts, out=minima[i])
    return minima


def _mix32(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection of 32 bits (the finaliser of MurmurHash3)."""
    z = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    z = (z ^ (z >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return z ^ (z >> np.uint32(16))


def _sketch(minima: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Two bits of each minimum (``SKETCH``, texts) -> (texts, 2).

    The bits come from a mixed minimum: minima are small numbers, whose own bits are not even.
    """
    bits = (_mix32(minima) & np.uint32(3)).astype(np.uint64)
    half = SKETCH // 2
    places = np.arange(half, dtype=np.uint64)[:, None] * np.uint64(2)
    words = [np.bitwise_or.reduce(bits[i : i + half] << places, axis=0) for i in (0, half)]
    return np.stack(words, axis=1)


def similarity(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of sketches (pairs, 2) and (pairs, 2)."""
    differ = a ^ b
    differ = (differ | (differ >> np.uint64(1))) & _LOW_BITS
    agree = 1 - _ones(differ).sum(axis=1) / SKETCH
    found: NDArray[np.float64] = (agree - 0.25) / 0.75
    return found


def _ones(x: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of bits set (Knuth 7.1.3, eq. 62); ``np.bitwise_count`` needs NumPy 2."""
    two, four = np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
    x = x - ((x >> np.uint64(1)) & _LOW_BITS)
    x = (x & two) + ((x >> np.uint64(2)) & two)
    x = (x + (x >> np.uint64(4))) & four
    return ((x * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.int64)


def candidates(rows: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs (later, earlier) of texts that share a band.

    Each text of a band is compared with the band's first and with the few right before it, so the
    work grows with the number of texts and not with its square.

    Args:
        rows: of ``BAND``, sorted by hash, texts ascending within one hash.
    """
    first = runs(rows["hash"])
    run = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(rows))))
    place = np.arange(len(rows)) - first[run]
    later = np.flatnonzero(place > 0)
    yield rows[later], rows[first[run[later]]]
    for back in range(1, _NEIGHBOURS + 1):
        later = np.flatnonzero(place > back)
        yield rows[later], rows[later - back]
