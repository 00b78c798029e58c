"""Vocabularies of many scripts, and texts, for the models with random weights of ``fit.py``."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

SCRIPTS = {
    "Cyrillic": (0x430, 0x450), "Latin": (0x61, 0x7B), "Greek": (0x3B1, 0x3CA),
    "Hebrew": (0x5D0, 0x5EB), "Arabic": (0x621, 0x64B), "Devanagari": (0x905, 0x93A),
    "Han": (0x4E00, 0x9FA0), "Hangul": (0xAC00, 0xD7A0), "Thai": (0xE01, 0xE2F),
    "Georgian": (0x10D0, 0x10F1), "Armenian": (0x561, 0x587), "Tamil": (0xB85, 0xBBA),
}  # fmt: skip

CYRILLIC_AND_LATIN = {name: SCRIPTS[name] for name in ("Cyrillic", "Latin")}


def pieces(
    count: int, seed: int = 0, scripts: dict[str, tuple[int, int]] = SCRIPTS
) -> Iterator[str]:
    """Different words of some scripts, the first two of them more often."""
    draw = random.Random(seed)
    names, seen = list(scripts), set[str]()
    for first, last in scripts.values():
        for code in range(first, min(last, first + 60)):
            seen.add(chr(code))
            yield chr(code)
    while len(seen) < count:
        first, last = scripts[draw.choices(names, [3, 8, *[1] * (len(names) - 2)])[0]]
        word = "".join(chr(draw.randrange(first, last)) for _ in range(draw.randint(2, 7)))
        if word not in seen:
            seen.add(word)
            yield word


def queries(count: int) -> list[str]:
    """Texts of Russian and English letters."""
    draw = random.Random(9)
    letters = ["абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "abcdefghijklmnopqrstuvwxyz"]
    return [
        " ".join(
            "".join(draw.choices(draw.choice(letters), k=draw.randint(1, 8)))
            for _ in range(draw.randint(1, 5))
        )
        for _ in range(count)
    ]


def _field(number: int, kind: int, data: bytes) -> bytes:
    return bytes([number << 3 | kind]) + (_varint(len(data)) if kind == 2 else b"") + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def unigram_model(words: list[str]) -> bytes:
    """A SentencePiece `.model` file of these pieces."""
    entries = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    entries += [(word, -8.0 - i / len(words), 1) for i, word in enumerate(words)]
    return b"".join(
        _field(1, 2, _field(1, 2, text.encode()) + _field(2, 5, struct.pack("<f", score))
               + _field(3, 0, _varint(kind)))
        for text, score, kind in entries
    )  # fmt: skip
