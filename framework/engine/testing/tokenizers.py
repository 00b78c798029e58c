"""What tokenizers promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from engine.errors import ArtifactError, WeightsError
from engine.testing.common import call, must_raise, shorten
from engine.testing.core import NotApplicable, describe, fault, rule
from engine.testing.subject import Subject

_TOKENIZER = "engine.contracts.tokenizer.Tokenizer"
_ENCODE = f"{_TOKENIZER}.encode"

TEXTS = (
    "красный кот на белом диване", "белый кот", "чёрная собака", "собака и кот", "дом у моря",
    "a red cat on a white sofa", "a white cat", "black dog", "the dog and the cat", "house 2021",
    "красный дом", "белый дом и чёрный кот", "море, лето!", "a house by the sea", "cat, dog",
) * 3  # fmt: skip
"""What a tokenizer learns from and is tried on, where its author gives no texts."""

HOSTILE = (
    "", " ", " \t\n\r", "\x00", "a\x00b", "\ufeff", "\u200b\u200d", "\u202eabc", "e\u0301" * 50,
    "😀👨\u200d👩\u200d👧🇷🇺", "日本語のテキスト", "مرحبا", "<s> </s> <pad> [CLS] [SEP] [UNK]",
    "</s>", "a" * 20_000, "слово " * 5_000, "\U0010ffff", "\ud800", "a\udfff", "\\", "'\"", "%s{}",
)  # fmt: skip
"""Texts that anybody may send."""


class TokenizerSubject(Subject):
    """A tokenizer."""

    @property
    def texts(self) -> Sequence[str]:
        """What it learns from."""
        return tuple(self.hints.get("texts", TEXTS))

    @property
    def vocab_size(self) -> int:
        """The most ids it may have."""
        return self.hints.get("vocab_size", 700)

    @cached_property
    def tokenizer(self) -> Any:
        """One made for the texts."""
        return self.target.make(self.settings, lambda: self.texts, self.vocab_size)

    @property
    def tried(self) -> list[str]:
        """Ordinary texts and hostile ones."""
        return [*self.texts[:12], *HOSTILE]


SUBJECT = TokenizerSubject


@rule(
    contract=f"{_TOKENIZER}.make",
    says="Load the vocabulary from ``settings.from_``, or train one on ``texts()``.",
    why="A text encoder has rows for `vocab_size` ids: a larger vocabulary would read beyond its"
    " table.",
    needs=("settings_valid",),
)
def make(it: TokenizerSubject) -> None:
    """It is made, with all its attributes."""
    try:
        found = it.tokenizer
    except WeightsError as error:
        fault(
            "a vocabulary",
            str(error),
            "The kit cannot reach it. Give settings that need no network ({'from': 'scratch'}, a"
            " file of your tests), and vocab_size= where it is a large one.",
        )
    except Exception as error:
        fault(f"make(settings, texts, {it.vocab_size}) to give a tokenizer", describe(error))
    if not isinstance(found, it.target):
        fault(f"make() to give a {it.target.__name__}", shorten(found))
    for name, kind in (("pad_id", int), ("vocab_size", int), ("origin", str)):
        if not isinstance(getattr(found, name, None), kind):
            fault(f"`{name}` of type {kind.__name__}", repr(getattr(found, name, "nothing")))
    if found.vocab_size > it.vocab_size:
        fault(
            f"at most {it.vocab_size} ids, as make() is given",
            f"vocab_size is {found.vocab_size}. Give vocab_size= where the vocabulary is fixed",
        )
    if not 0 <= found.pad_id < found.vocab_size:
        fault(f"pad_id from 0 to {found.vocab_size - 1}", f"{found.pad_id}")


@rule(
    contract=_ENCODE,
    says="One list of ids for each text",
    why="The ids go to the text encoder as they are.",
    needs=("make",),
)
def encode(it: TokenizerSubject) -> None:
    """One list of whole numbers a text, whatever the text."""
    texts = it.tried
    for text in texts:
        shown = shorten(text, 40)
        rows = call(it.tokenizer.encode, [text], 16, expected=f"any text to be taken, here {shown}")
        if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], list):
            fault("one list of ids for each text", f"{shorten(rows)} for [{shown}]")
        if not all(isinstance(one, int) for one in rows[0]):
            fault("ids of type int", f"{type(rows[0][0])} for {shown}")
    rows = call(it.tokenizer.encode, texts, 16, expected="many texts at once to be taken")
    if len(rows) != len(texts):
        fault(f"{len(texts)} lists for {len(texts)} texts", f"{len(rows)} lists")
    if (none := it.tokenizer.encode([], 16)) != []:
        fault("an empty list for no texts", shorten(none))


@rule(
    contract=_ENCODE,
    says="at least 1 and at most ``max_tokens`` long, not padded.",
    why="A text without any token has no last token to read the features at.",
    needs=("encode",),
)
def never_empty(it: TokenizerSubject) -> None:
    """Every text has a token, the empty one too."""
    for text, row in zip(it.tried, it.tokenizer.encode(it.tried, 16), strict=True):
        if not row:
            fault("at least one token for any text (a mark of the end, or an unknown)",
                  f"none for {shorten(text, 40)}")  # fmt: skip


@rule(
    contract=_TOKENIZER,
    says="vocab_size: one more than the largest id it can give.",
    why="The text encoder's table has `vocab_size` rows; an id beyond it stops training, or reads"
    " other memory on a GPU.",
    needs=("encode",),
)
def ids_in_range(it: TokenizerSubject) -> None:
    """No id is below 0 or beyond the vocabulary."""
    maximum = it.tokenizer.vocab_size
    for text, row in zip(it.tried, it.tokenizer.encode(it.tried, 64), strict=True):
        if bad := [one for one in row if not 0 <= one < maximum]:
            fault(f"ids from 0 to {maximum - 1} (vocab_size is {maximum})",
                  f"id {bad[0]} for {shorten(text, 40)}")  # fmt: skip


@rule(
    contract=_ENCODE,
    says="A text that is too long loses its end, but never its end mark.",
    why="The text encoder has positions for max_tokens, and reads a text at its last token, which"
    " must be the same mark for long texts.",
    needs=("never_empty",),
)
def max_tokens(it: TokenizerSubject) -> None:
    """The length is kept, and so is the end mark where there is one."""
    long = " ".join(it.texts[:12]) * 20
    ends = {row[-1] for row in it.tokenizer.encode(["", *it.texts[:12]], 1000)}
    for maximum in (2, 3, 7, 64):
        for text, row in zip(it.tried, it.tokenizer.encode(it.tried, maximum), strict=True):
            if len(row) > maximum:
                fault(f"at most {maximum} tokens for max_tokens={maximum}",
                      f"{len(row)} for {shorten(text, 40)}")  # fmt: skip
        (row,) = it.tokenizer.encode([long], maximum)
        if len(ends) == 1 and row[-1] not in ends:
            fault(f"the end mark {ends.pop()}, which ends every short text, at the end of a text"
                  f" cut to {maximum} tokens", f"id {row[-1]}")  # fmt: skip


@rule(
    contract=_ENCODE,
    says="A text's ids do not depend on the other texts.",
    why="Texts are encoded in whatever batches suit.",
    needs=("encode",),
)
def batch_independence(it: TokenizerSubject) -> None:
    """A text alone has the ids that it has among others, each time."""
    texts = it.tried
    together = it.tokenizer.encode(texts, 16)
    for what, found in (
        ("a second time", it.tokenizer.encode(texts, 16)),
        ("in another order", it.tokenizer.encode(texts[::-1], 16)[::-1]),
        ("one by one", [it.tokenizer.encode([text], 16)[0] for text in texts]),
    ):
        for text, one, other in zip(texts, together, found, strict=True):
            if one != other:
                fault(f"the same ids {what}", f"{shorten(text, 40)}: {shorten(one, 60)}, then"
                      f" {shorten(other, 60)}")  # fmt: skip


@rule(
    contract=f"{_TOKENIZER}.to_bytes",
    says="Everything needed to restore it, as JSON text in UTF-8. Never a pickle.",
    why="An artifact carries the tokenizer in these bytes and nothing else of it.",
    needs=("encode",),
)
def bytes_round_trip(it: TokenizerSubject) -> None:
    """from_bytes restores what to_bytes gave."""
    data = call(it.tokenizer.to_bytes, expected="to_bytes() to give the tokenizer as JSON")
    if not isinstance(data, bytes):
        fault("bytes", f"{type(data)}")
    try:
        json.loads(data.decode("utf-8"))
    except ValueError as error:
        fault("JSON text in UTF-8", f"{error}; it begins with {shorten(data[:40])}")
    again = call(it.target.from_bytes, it.settings, data,
                 expected="from_bytes(settings, to_bytes()) to restore the tokenizer")  # fmt: skip
    for name in ("pad_id", "vocab_size", "origin"):
        one, other = getattr(it.tokenizer, name), getattr(again, name, None)
        if one != other:
            fault(f"the same {name} after to_bytes and from_bytes", f"{one!r} became {other!r}")
    before = it.tokenizer.encode(it.tried, 32)
    after = again.encode(it.tried[::-1], 32)[
        ::-1
    ]  # in another order: nothing is learned by the way
    for text, one, other in zip(it.tried, before, after, strict=True):
        if one != other:
            fault(
                "the same ids after to_bytes and from_bytes",
                f"{shorten(text, 40)}: {shorten(one, 60)} became {shorten(other, 60)}",
            )


@rule(
    contract=f"{_TOKENIZER}.from_bytes",
    says="ArtifactError: the bytes are not this tokenizer's.",
    why="An artifact may come from anybody: bad bytes must give a clear error; nothing in them may"
    " run, and no error of an inner library may come out.",
    needs=("bytes_round_trip",),
)
def bad_bytes(it: TokenizerSubject) -> None:
    """Bytes that are not its own are an ArtifactError."""
    good = it.tokenizer.to_bytes()
    if it.target.from_bytes(it.settings, good).to_bytes() != good:
        raise NotApplicable("its bytes are different each time")
    cases = {
        "no bytes": b"",
        "no JSON": b"\x80\x04]\x94.",
        "half of its own bytes": good[: len(good) // 2],
        "an empty object": b"{}",
        "a list": b"[]",
        "null": b"null",
        "a text": b'"text"',
    }
    for what, data in cases.items():
        must_raise(ArtifactError, it.target.from_bytes, it.settings, data,
                   expected=f"an ArtifactError from from_bytes for {what}")  # fmt: skip


RULES = (
    make,
    encode,
    never_empty,
    ids_in_range,
    max_tokens,
    batch_independence,
    bytes_round_trip,
    bad_bytes,
)
