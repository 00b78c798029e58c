"""A tokenizer.json for the library `tokenizers`: the plugin's ids, or a report of differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from engine.exchange.source import Source
from engine.exchange.tokenizer import standalone

from .conftest import CLIP_TEXT, CLIP_VISION, IDENTITY

CLIPS_MENDING = ["R&amp;B &lt;3"]  # CLIP undoes HTML, which no step of the library does
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "clip_bpe": ({}, CLIPS_MENDING),
    "gpt2_bpe": ({}, []),
    "wordpiece": ({"do_lower_case": True}, []),
    "youtokentome": ({}, []),
    "sentencepiece": ({"lower": True, "zero_digits": True}, []),
    "trained": ({"byte_level": True}, []),
}
# Queries as people type them; CLIP mends broken encodings and HTML, which is reported.
QUERIES = st.text(st.sampled_from("abcXYZ абвЯЁёй0123 -.,!'\t\n"), max_size=60)


@pytest.fixture(scope="module", params=list(KINDS))
def made(request: pytest.FixtureRequest, make_source: Callable[..., Source]) -> Any:
    """A kind of tokenizer: its source, what is known to differ, and the library's reading of it."""
    own, different = KINDS[request.param]
    tokenizer = {"use": request.param, "from": "scratch", **own}
    text = {**CLIP_TEXT, "tokenizer": tokenizer}
    source = make_source(CLIP_VISION, text, IDENTITY, IDENTITY)
    data, story = standalone(source)
    backend = Backend.from_str(data.decode())
    backend.encode_special_tokens = True
    return source, different, story, backend


def test_only_what_is_known_differs(made: Any) -> None:
    source, different, story, _ = made
    assert story["library"] == "tokenizers"
    assert story["differs_on"] == different
    assert len(source.texts) >= 20
    assert max(len(row) for row in source.rows) == source.text_settings.max_tokens


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(QUERIES, min_size=1, max_size=4))
def test_texts_that_it_was_not_tried_with(made: Any, texts: list[str]) -> None:
    source, _, _, backend = made
    expected = source.built.tokenizer.encode(texts, source.text_settings.max_tokens)
    found = backend.encode_batch(texts)
    pad = source.built.tokenizer.pad_id
    for row, encoding in zip(expected, found, strict=True):
        length = sum(encoding.attention_mask)
        assert encoding.ids[:length] == row
        assert set(encoding.ids[length:]) <= {pad}


class Foreign:
    """A plugin's tokenizer that the library `tokenizers` does not know."""

    pad_id, vocab_size, origin = 0, 3, "made for a test"

    def to_bytes(self) -> bytes:
        return b'{"words": ["a", "b"]}'


@pytest.mark.parametrize("data", [b'{"words": ["a"]}', b"[1]", b"no JSON at all"])
def test_a_foreign_kind_is_reported(
    small: Callable[[str], Source], monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(Foreign, "to_bytes", lambda self: data)
    source = small("clip")
    foreign: Any = Foreign()
    found, story = standalone(replace(source, built=replace(source.built, tokenizer=foreign)))
    assert found == data
    assert story["library"] is None
