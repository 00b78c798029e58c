"""Near duplicates by MinHash with banding, vectorised over many texts.

Sources: Broder 1997; Leskovec et al., *Mining of Massive Datasets*, section 3.4.

A text is the set of the character 3-grams of its words (lower case, parted and framed by single
spaces). Two texts are near duplicates where the Jaccard similarity of these sets is 0.8 or more.

- 8 bands of 4 minima each propose pairs: texts of similarity s meet with probability
  ``1 - (1 - s^4)^8`` (0.985 at 0.8, 0.9995 at 0.9).
- A sketch evaluates a pair where the texts are not at hand: 256 bits, each 3-gram setting one; the
  sizes of both sets and of their union follow from the numbers of bits set (linear counting, Whang
  et al. 1990). The standard error of the similarity is below 0.03 at 0.8 for texts of up to 600
  3-grams. Of longer texts the sketch holds a sixteenth of the 3-grams (or a 256th); so a pair on
  both sides of such a bound is missed. A sketch of 64 minima of two bits was measured, too: it
  costs three times as much and errs by 0.06, which makes a fifth of what it calls near wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.data.text.spill import Rows, mix, runs

THRESHOLD = 0.8
BANDS, BAND_ROWS = 8, 4
BITS = 256
FULL = 600
"""3-grams of a text up to which its sketch holds all of them."""

BAND = np.dtype([("hash", "u8"), ("text", "u8"), ("sketch", "u8", BITS // 64)])
"""A text's band: its key, the text's number, the text's sketch."""

_random = np.random.default_rng(20_260_101)
_COUNT = BANDS * BAND_ROWS
_FACTORS = _random.integers(0, 1 << 31, _COUNT, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_TERMS = _random.integers(0, 1 << 32, _COUNT, dtype=np.uint32)
_NEIGHBOURS = 3
_BLOCK = 1 << 18


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
    hashes, lengths = _hashes(texts)
    rows["text"] = numbers
    rows["sketch"] = _sketches(hashes, lengths)
    minima = _minima(hashes, lengths)
    for band in range(BANDS):
        key = np.full(len(texts), band, np.uint64)
        for row in range(BAND_ROWS):
            key = mix(key ^ minima[band * BAND_ROWS + row])
        rows["hash"][band] = key
    return rows.reshape(-1)


def _hashes(texts: Sequence[Sequence[str]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The hashes of all 3-grams, text by text, and how many each text has (repeated ones too)."""
    framed = [f" {' '.join(words)} " for words in texts]
    codes = np.frombuffer("".join(framed).encode("utf-32-le"), np.uint32)
    lengths = np.fromiter(map(len, framed), np.int64, len(framed))
    hashes = codes[:-2] * np.uint32(0x9E3779B1)
    hashes += codes[1:-1] * np.uint32(0x85EBCA77)
    hashes += codes[2:] * np.uint32(0xC2B2AE3D)
    inside = np.ones(len(codes), bool)
    ends = np.cumsum(lengths)
    inside[ends - 1] = inside[ends - 2] = False  # 3-grams that would reach into the next text
    return _mix32(hashes[inside[:-2]]), lengths - 2


def _minima(hashes: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Minima (``_COUNT``, texts) of every permutation over each text's 3-grams."""
    starts = np.cumsum(lengths) - lengths
    minima = np.empty((_COUNT, len(lengths)), np.uint32)
    moved = np.empty_like(hashes)
    for i in range(_COUNT):
        np.multiply(hashes, _FACTORS[i], out=moved)
        moved += _TERMS[i]
        np.minimum.reduceat(moved, starts, out=minima[i])
    return minima


def _sketches(hashes: NDArray[np.uint32], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Bits (texts, BITS / 64), one set by each 3-gram that the sketch of its text holds."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    thin = ((lengths > FULL) * 15 + (lengths > 16 * FULL) * 240).astype(np.uint32)
    if thin.any():
        held = (hashes >> np.uint32(24)) & thin[text] == 0
        hashes, text = hashes[held], text[held]
    bits = np.zeros((len(lengths), BITS), np.uint8)
    bits[text, hashes & np.uint32(BITS - 1)] = 1
    packed = np.packbits(bits, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def _mix32(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A bijection of 32 bits (the finaliser of MurmurHash3)."""
    z = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    z = (z ^ (z >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return z ^ (z >> np.uint32(16))


def similarity(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Estimated Jaccard similarity of sketches (pairs, BITS / 64) and (pairs, BITS / 64)."""
    both = _size(a | b)
    found: NDArray[np.float64] = (_size(a) + _size(b) - both) / both
    return found


def _size(sketch: NDArray[np.uint64]) -> NDArray[np.float64]:
    """How many 3-grams set these bits: linear counting."""
    bits = np.minimum(_ones(sketch).sum(axis=1), BITS - 1)
    found: NDArray[np.float64] = -BITS * np.log1p(-bits / BITS)
    return np.maximum(found, 1e-9)


def _ones(x: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of bits set (Knuth 7.1.3, eq. 62); ``np.bitwise_count`` needs NumPy 2."""
    one, two = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
    four = np.uint64(0x0F0F0F0F0F0F0F0F)
    x = x - ((x >> np.uint64(1)) & one)
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
    for back in range(_NEIGHBOURS + 1):
        later = np.flatnonzero(place > back)
        # In blocks: of queries made from one template, millions may share a band.
        for start in range(0, len(later), _BLOCK):
            here = later[start : start + _BLOCK]
            yield rows[here], rows[here - back if back else first[run[here]]]
