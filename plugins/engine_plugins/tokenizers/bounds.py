"""Bounds on what a file may ask a tokenizer to do. Every real vocabulary keeps them.

A `tokenizer.json` is a small program: a chain of steps that rewrite a text. A chain of sixty steps
that each double a letter would turn a word into more text than any memory holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_BYTES = 256 * 2**20
"""Bytes of a vocabulary's file; the largest ones have some 20 MB."""

LONGEST_PIECE = 1000
"""Characters of a piece; those of real vocabularies have some dozens."""

MAX_STEPS = 64
"""Steps of a `tokenizer.json` before its model."""

MAX_GROWTH = 64
"""How many times longer the steps may make a text, at most."""

_LONGEST_ADDED = 64
_LONGEST_WORD = 1000
_DEEPEST = 8
_PARTS = ("normalizers", "pretokenizers")
# A pattern with one of these may match nothing at all, so that it inserts and does not replace.
_MAY_BE_EMPTY = re.compile(r"[*?|^$]|\{0|\\[bBAZzG]|\{,")


def check_steps(document: Any) -> None:
    """Raise ValueError where the JSON of the library `tokenizers` asks for work without measure."""
    if not isinstance(document, Mapping):
        raise ValueError("expected a JSON object")
    steps = [
        *_flat(document.get("normalizer"), 0),
        *_flat(document.get("pre_tokenizer"), 0),
    ]
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{len(steps)} steps before its model; at most {MAX_STEPS} are read")
    growth = 1.0
    added = 0
    for step in steps:
        growth *= _growth(step)
        added += len(str(step.get("prepend", "")))
    if growth > MAX_GROWTH or added > _LONGEST_ADDED:
        raise ValueError(
            f"its steps could make a text {growth:,.0f} times longer; at most {MAX_GROWTH} times"
            " is allowed"
        )
    model = document.get("model")
    longest = model.get("max_input_chars_per_word") if isinstance(model, Mapping) else None
    if isinstance(longest, int) and longest > _LONGEST_WORD:
        raise ValueError(f"words of {longest:,} characters; at most {_LONGEST_WORD:,} are read")


def _flat(step: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """The steps of a sequence of sequences."""
    if step is None:
        return
    if not isinstance(step, Mapping) or depth > _DEEPEST:
        raise ValueError("a step that is not an object, or too deep a sequence of steps")
    inner = [part for name in _PARTS for part in (step.get(name) or ())]
    if not inner:
        yield step
    for part in inner:
        yield from _flat(part, depth + 1)


def _growth(step: Mapping[str, Any]) -> float:
    kind = step.get("type")
    if kind == "ByteLevel":  # a character becomes at most four
        return 4.0
    if kind == "Precompiled":
        return _map_growth(step)
    if kind != "Replace":
        return 1.0
    content, pattern = step.get("content"), step.get("pattern")
    if not isinstance(content, str) or not isinstance(pattern, Mapping):
        raise ValueError("a step that replaces without a pattern or a replacement")
    text = pattern.get("String")
    if isinstance(text, str) and text:
        return max(1.0, len(content) / len(text))
    empty = text == "" or _MAY_BE_EMPTY.search(str(pattern.get("Regex", ""))) is not None
    return float(len(content) + 1) if empty else float(max(1, len(content)))


def _map_growth(step: Mapping[str, Any]) -> float:
    """The most that a character map of SentencePiece makes of a string."""
    import base64

    from engine_plugins.tokenizers.spm_model import entries

    charsmap = base64.b64decode(str(step.get("precompiled_charsmap") or ""), validate=True)
    if not charsmap:
        return 1.0
    return max((len(new) / len(old) for old, new in entries(charsmap)), default=1.0)
