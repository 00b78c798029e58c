"""A tokenizer for the library `tokenizers` alone, made of an artifact's ``tokenizer.json``.

An artifact holds a plugin's own JSON. Where that has the entries of the built-in tokenizers
(``tokenizers``: the library's JSON; ``begin`` and ``end``: the marks around a text), it becomes a
plain ``tokenizer.json``. What a plugin does to a text beforehand is its own code, which a file
cannot hold: the usual steps (lower case, white space folded, NFKC, digits to 0, no punctuation,
SentencePiece's spaces) are tried in every combination, and the fewest under which the most texts
get the plugin's own ids are written. Texts whose ids still differ are reported in the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.exchange.source import Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend
    from tokenizers.normalizers import Normalizer

_SPACE = "▁"
_PUNCTUATION = r"[!-/:-@\[-`{-~]"
"""ASCII's, as Python's ``string.punctuation``; the underscore is among it."""


def standalone(source: Source) -> tuple[bytes, dict[str, Any]]:
    """The bytes of ``tokenizer.json``, and what the manifest says of it.

    ``library`` in the latter is ``"tokenizers"``, or ``None`` where the bytes are a plugin's own
    and only Engine reads them.
    """
    found = backend_of(source)
    tokenizer = source.built.tokenizer
    story = {"origin": tokenizer.origin, "vocab_size": tokenizer.vocab_size}
    if found is None:
        return tokenizer.to_bytes(), {**story, "library": None, "differs_on": []}
    backend, marks = found
    different = differing(source, backend)
    text = json.dumps(json.loads(backend.to_str()), ensure_ascii=False, separators=(",", ":"))
    return text.encode(), {**story, "library": "tokenizers", **marks, "differs_on": different}


def backend_of(source: Source) -> tuple[Backend, dict[str, Any]] | None:
    """The library's tokenizer with marks, truncation and padding; and the marks' ids.

    ``None`` where the plugin's bytes do not hold one.
    """
    from tokenizers import Tokenizer as Backend

    document = _document(source)
    if document is None:
        return None
    backend: Backend = Backend.from_str(json.dumps(document["tokenizers"]))
    backend.encode_special_tokens = True
    begin, end = ([int(i) for i in document.get(name, [])] for name in ("begin", "end"))
    pad = source.built.tokenizer.pad_id
    _set_marks(backend, begin, end)
    backend.enable_truncation(source.text_settings.max_tokens)
    _choose_steps(backend, source)
    backend.enable_padding(pad_id=pad, pad_token=_token(backend, pad))
    return backend, {"begin": begin, "end": end, "pad": pad}


def differing(source: Source, backend: Backend) -> list[str]:
    """Those of the source's texts whose ids are not the plugin's own, cut to 60 characters."""
    backend.encode_special_tokens = True
    found = _ids(backend, source.texts)
    pairs = zip(source.texts, source.rows, found, strict=True)
    return [text[:60] for text, expected, ids in pairs if ids != expected]


def _document(source: Source) -> dict[str, Any] | None:
    try:
        document = json.loads(source.built.tokenizer.to_bytes())
    except ValueError:
        return None
    known = isinstance(document, dict) and isinstance(document.get("tokenizers"), dict)
    return document if known else None


def _token(backend: Backend, index: int) -> str:
    token = backend.id_to_token(index)
    return f"<{index}>" if token is None else str(token)


def _set_marks(backend: Backend, begin: Sequence[int], end: Sequence[int]) -> None:
    from tokenizers.processors import TemplateProcessing

    if not begin and not end:
        return
    # Named after their ids: a template is split at spaces, which a mark's own spelling may hold.
    special = [
        {"id": f"mark{i}", "ids": [i], "tokens": [_token(backend, i)]} for i in {*begin, *end}
    ]
    before, after = ([f"mark{i}" for i in marks] for marks in (begin, end))
    backend.post_processor = TemplateProcessing(
        single=[*before, "$A", *after], pair=None, special_tokens=special
    )


def _ids(backend: Backend, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """The ids of each text without padding."""
    found = backend.encode_batch(list(texts))
    return [
        tuple(i for i, seen in zip(each.ids, each.attention_mask, strict=True) if seen)
        for each in found
    ]


def _choose_steps(backend: Backend, source: Source) -> None:
    """Put the steps before a text that agree best with the plugin, the fewest of equals."""
    from tokenizers import normalizers

    own = backend.normalizer
    best: tuple[int, int] | None = None
    chosen: list[Normalizer] = []
    for steps in _combinations():
        candidate = [*steps, own] if own is not None else steps
        backend.normalizer = normalizers.Sequence(candidate)
        found = _ids(backend, source.texts)
        agree = sum(a == b for a, b in zip(found, source.rows, strict=True))
        if best is None or (agree, -len(steps)) > best:
            best, chosen = (agree, -len(steps)), candidate
    if chosen:
        backend.normalizer = normalizers.Sequence(chosen)
    else:
        backend.normalizer = None


def _combinations() -> list[list[Normalizer]]:
    from tokenizers import Regex
    from tokenizers import normalizers as n

    lower = [n.Lowercase()]
    zeros = [n.Replace(Regex(r"\d"), "0")]
    nfkc = [n.NFKC()]
    bare = [n.Replace(Regex(_PUNCTUATION), "")]
    apart = [n.Replace("_", " "), *bare]
    fold = [n.Replace(Regex(r"\s+"), " "), n.Strip()]
    spaces = [n.Prepend(_SPACE), n.Replace(" ", _SPACE)]
    return [
        [step for steps in chosen for step in steps]
        for chosen in product(
            ([], lower), ([], zeros), ([], nfkc), ([], bare, apart), ([], fold), ([], spaces)
        )
    ]
