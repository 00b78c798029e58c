"""Hashed n-grams: fastText's pieces, one id each, in any batch."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import ArtifactError
from engine_plugins.tokenizers.ngrams import CharNgrams
from engine_plugins.tokenizers.settings import CharNgramsSettings


def make(rows: int = 1000, **settings: Any) -> CharNgrams:
    return CharNgrams.make(CharNgramsSettings(**settings), list, rows)


def number(piece: str, rows: int = 1000) -> int:
    return 1 + zlib.crc32(piece.encode()) % (rows - 1)


def test_pieces_of_a_word() -> None:
    """By hand: the word, then 3-grams and 4-grams of the marked word."""
    found = make(longest=4).encode(["Кот"], 99)[0]
    assert found == [number(p) for p in ("=кот", "<ко", "кот", "от>", "<кот", "кот>")]
    assert make(words=False, longest=3).encode(["кот"], 99)[0] == found[1:4]
    assert make(lower=False).encode(["Кот"], 99) != make().encode(["Кот"], 99)


def test_letters_stand_for_others() -> None:
    folded = make(replace={"ё": "е"})
    assert folded.encode(["Ёж"], 99) == folded.encode(["еж"], 99)
    assert make().encode(["ёж"], 99) != make().encode(["еж"], 99)


@given(st.lists(st.text(max_size=80), max_size=5), st.integers(2, 40))
def test_any_text(texts: list[str], most: int) -> None:
    tokenizer = make()
    found = tokenizer.encode(texts, most)
    assert found == [tokenizer.encode([text], most)[0] for text in texts]
    assert all(1 <= len(row) <= most for row in found)
    assert all(0 <= one < tokenizer.vocab_size for row in found for one in row)
    again = CharNgrams.from_bytes(tokenizer.settings, tokenizer.to_bytes())
    assert again.encode(texts, most) == found


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff", b'{"kind": "char_ngrams", "format": 1, "vocab_size": 1}',
             b'{"kind": "char_ngrams", "format": 2, "vocab_size": 9}'],
)  # fmt: skip
def test_bytes_of_something_else(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        CharNgrams.from_bytes(CharNgramsSettings(), data)


@pytest.mark.parametrize(
    "settings", [{"shortest": 5, "longest": 3}, {"replace": {"ab": "c"}}, {"from": "hf:a/b"}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CharNgramsSettings(**settings)
