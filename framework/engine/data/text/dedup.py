"""Cleaning steps that compare texts: within an image, or over the whole table out of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from engine.contracts.settings import Settings
from engine.core.progress import Progress
from engine.data.text import minhash
from engine.data.text.spill import PARTS, Rows, Spill, mix, runs
from engine.data.text.words import words_of

TEXT = np.dtype([("hash", "u8"), ("text", "u8"), ("new", "u1")])
"""A text: its hash, its number in the table, whether its image has it for the first time."""

Local = Callable[[Sequence[str], Sequence[int]], list[str]]
"""Texts of whole images, and the number of each text's image, to texts; an empty one is dropped."""


class TableStep(Protocol):
    """A step that must see the whole table before it can drop a text."""

    dtype: np.dtype[Any]

    def collect(self, texts: Sequence[str], owners: Sequence[int]) -> Rows:
        """What to keep of texts; ``text`` counts from 0."""

    def decide(self, rows: Spill, drop: NDArray[np.bool_], images: int, progress: Progress) -> None:
        """Set ``drop`` for every text to drop; ``images`` have one or more of the texts."""


class Duplicates(Settings):
    """Texts that stood there before, letter by letter, dropped."""

    within: Literal["image", "table"] = Field(
        "image", description="before: among the texts of the same image, or of any image"
    )


def duplicates(settings: Duplicates) -> Local | TableStep:
    """The first of equal texts stays."""
    return _same_image if settings.within == "image" else TableDuplicates()


def _same_image(texts: Sequence[str], owners: Sequence[int]) -> list[str]:
    seen: set[tuple[int, str]] = set()
    found = []
    for text, owner in zip(texts, owners, strict=True):
        key = (owner, text)
        found.append("" if key in seen else text)
        seen.add(key)
    return found


class TableDuplicates:
    """Exact duplicates over the whole table, by hashes of 64 bits."""

    dtype = TEXT

    def collect(self, texts: Sequence[str], owners: Sequence[int]) -> Rows:
        """Hash and number of each text."""
        return _hashed(texts, owners)

    def decide(self, rows: Spill, drop: NDArray[np.bool_], images: int, progress: Progress) -> None:
        """All but the first of each hash."""
        for part, found in enumerate(rows.parts()):
            progress("duplicates", part, PARTS)
            again = np.ones(len(found), bool)
            again[runs(found["hash"])] = False
            drop[found["text"][again]] = True


class NearDuplicates(Settings):
    """Texts that differ from an earlier one by little dropped (MinHash over 3-grams of letters)."""

    within: Literal["image", "table"] = Field(
        "image", description="earlier: among the texts of the same image, or of any image"
    )
    similarity: float = Field(
        minhash.THRESHOLD,
        ge=0.75,
        le=1,
        description="Jaccard similarity from which two texts are near. Exact within an image,"
        " estimated over the table (standard error 0.03); of pairs at 0.8 98 in 100 are found, at"
        " 0.75 95",
    )


def near_duplicates(settings: NearDuplicates) -> Local | TableStep:
    """A text goes where an earlier one is near, even if that one goes for a third's sake."""
    if settings.within == "table":
        return TableNearDuplicates(settings.similarity)
    return lambda texts, owners: _near_in_image(texts, owners, settings.similarity)


def _near_in_image(texts: Sequence[str], owners: Sequence[int], threshold: float) -> list[str]:
    rows, split = _bands(texts)
    # A band's key is mixed with its image: only texts of one image meet.
    owner = np.array(owners, np.uint64)[rows["text"]] if len(rows) else np.empty(0, np.uint64)
    rows["hash"] = mix(rows["hash"] ^ mix(owner))
    rows = rows[np.lexsort((rows["text"], rows["hash"]))]
    pairs = {
        pair
        for later, earlier in minhash.candidates(rows)
        for pair in zip(later["text"].tolist(), earlier["text"].tolist(), strict=True)
    }
    found = list(texts)
    sets: dict[int, set[str]] = {}
    for a, b in sorted(pairs):
        if found[a]:
            for i in (a, b):
                if i not in sets:
                    sets[i] = minhash.shingles(split[i])
            if minhash.jaccard(sets[a], sets[b]) >= threshold:
                found[a] = ""
    return found


class TableNearDuplicates:
    """Near duplicates over the whole table, by sketches of 256 bits."""

    dtype = minhash.BAND

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold

    def collect(self, texts: Sequence[str], owners: Sequence[int]) -> Rows:
        """The bands of each text that has a word."""
        return _bands(texts)[0]

    def decide(self, rows: Spill, drop: NDArray[np.bool_], images: int, progress: Progress) -> None:
        """What has an earlier text near it."""
        for part, found in enumerate(rows.parts()):
            progress("near duplicates", part, PARTS)
            for later, earlier in minhash.candidates(found):
                alike = minhash.similarity(later["sketch"], earlier["sketch"])
                drop[later["text"][alike >= self._threshold]] = True


class TooCommon(Settings):
    """Texts of very many images say nothing of any of them: dropped from all."""

    images: int = Field(1000, ge=1, description="more images than this must have the text ...")
    share: float = Field(0.001, ge=0, le=1, description="... and a larger share of all images")


def too_common(settings: TooCommon) -> TableStep:
    """Texts are counted once an image, letter by letter."""
    return TableCommon(settings)


class TableCommon:
    """Counts the images of each text, by hashes of 64 bits."""

    dtype = TEXT

    def __init__(self, settings: TooCommon) -> None:
        self._settings = settings

    def collect(self, texts: Sequence[str], owners: Sequence[int]) -> Rows:
        """Hash and number of each text, and whether it counts."""
        return _hashed(texts, owners)

    def decide(self, rows: Spill, drop: NDArray[np.bool_], images: int, progress: Progress) -> None:
        """All texts of a hash that too many images have."""
        maximum = max(self._settings.images, self._settings.share * images)
        for part, found in enumerate(rows.parts()):
            progress("too common", part, PARTS)
            starts = runs(found["hash"])
            counts = np.add.reduceat(found["new"].astype(np.int64), starts)
            lengths = np.diff(np.append(starts, len(found)))
            drop[found["text"][np.repeat(counts > maximum, lengths)]] = True


def _hashed(texts: Sequence[str], owners: Sequence[int]) -> Rows:
    rows = np.zeros(len(texts), TEXT)
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    rows["hash"] = np.frombuffer(b"".join(digests), np.uint64)
    rows["text"] = np.arange(len(texts))
    seen: set[tuple[int, bytes]] = set()
    new = []
    for key in zip(owners, digests, strict=True):
        new.append(key not in seen)
        seen.add(key)
    rows["new"] = new
    return rows


def _bands(texts: Sequence[str]) -> tuple[Rows, list[list[str]]]:
    split = [words_of(text) for text in texts]
    numbers = np.flatnonzero(np.fromiter(map(len, split), np.int64, len(split)))
    return minhash.bands([split[i] for i in numbers], numbers.astype(np.uint64)), split


COMPARING_STEPS: dict[str, tuple[type[Settings], Callable[..., Local | TableStep]]] = {
    "duplicates": (Duplicates, duplicates),
    "near_duplicates": (NearDuplicates, near_duplicates),
    "too_common": (TooCommon, too_common),
}
"""Names, settings and what makes the step."""
