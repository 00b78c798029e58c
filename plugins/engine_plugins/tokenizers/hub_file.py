"""Reading a `tokenizer.json`, and a SentencePiece model, as transformers' classes read them.

A text's own characters never become a mark: the entries of marks get a spelling that no text has,
and marks behind the vocabulary (``<extra_id_0>``, ``<mask>``) are left out, since no text gives
them. So a text encoder needs no rows for them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from engine.errors import WeightsError
from engine_plugins.tokenizers.backend import parse_backend
from engine_plugins.tokenizers.base import read_text
from engine_plugins.tokenizers.spm_model import EXTRA, SpmModel


@dataclass(frozen=True)
class HubVocabulary:
    """A vocabulary that is ready for use.

    Attributes:
        backend: gives the ids of a text, without marks.
        ids: every token's id by its own spelling, marks included.
    """

    backend: Tokenizer
    ids: Mapping[str, int]


def read_document(path: Path) -> dict[str, Any]:
    """The JSON of a `tokenizer.json`.

    Raises:
        WeightsError: it is something else.
    """
    try:
        document = json.loads(read_text(path))
        model = document["model"]
        if not isinstance(model, dict) or not isinstance(model.get("vocab"), (list, dict)):
            raise ValueError("its `model` has no `vocab`")
        if not isinstance(document.get("added_tokens", []), list):
            raise ValueError("its `added_tokens` are not a list")
        found: dict[str, Any] = document
        return found
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not a tokenizer.json of the library tokenizers: {error}",
            hint="get the file again, or name the folder that holds the model's own vocabulary",
        ) from error


def expect(document: Mapping[str, Any], where: str, kind: str, family: str) -> None:
    """Raise WeightsError where the model is not of the kind (``"Unigram"``, ``"BPE"``)."""
    found = document["model"].get("type") or (
        "Unigram" if isinstance(document["model"]["vocab"], list) else "BPE"
    )
    if found != kind:
        raise WeightsError(
            f"{where} holds a {str(found)[:40]} vocabulary, and {family}'s is {kind}",
            hint="choose the tokenizer plugin of the model's own family"
            " (`engine plugins tokenizer`)",
        )


def vocabulary_of(document: Mapping[str, Any], where: str) -> HubVocabulary:
    """The backend of a `tokenizer.json`, its marks out of reach.

    Raises:
        WeightsError: the library does not understand it.
    """
    document = {**document, "post_processor": None, "truncation": None, "padding": None}
    added = [token for token in document.get("added_tokens") or [] if isinstance(token, Mapping)]
    model = dict(document["model"])
    ids = _ids(model["vocab"], added)
    special = {str(token.get("content")) for token in added if token.get("special")}
    special |= {token for token in ids if EXTRA.fullmatch(token)}
    model["vocab"] = _hidden(model, special)
    unknown = model.get("unk_token")
    if isinstance(model["vocab"], dict) and f" {unknown}" in model["vocab"]:
        model["unk_token"] = f" {unknown}"
    document["model"] = model
    document["added_tokens"] = [t for t in added if str(t.get("content")) not in special]
    try:
        return HubVocabulary(parse_backend(json.dumps(document)), ids)
    except ValueError as error:
        raise WeightsError(f"{where}: {error}") from error


def _ids(vocab: Any, added: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    own = (
        dict(vocab)
        if isinstance(vocab, Mapping)
        else {str(entry[0]): i for i, entry in enumerate(vocab)}
    )
    return own | {str(t["content"]): int(t["id"]) for t in added if "id" in t and "content" in t}


def _merged(model: Mapping[str, Any]) -> set[str]:
    """Tokens that merges make, or are made of: their spelling must stay."""
    found: set[str] = set()
    for merge in model.get("merges") or ():
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        found |= {left, right, left + right}
    return found


def _hidden(model: Mapping[str, Any], special: set[str]) -> Any:
    """The vocabulary with marks that no text can spell, and without those at its end."""
    vocab = model["vocab"]
    unknown = model.get("unk_token", model.get("unk_id"))
    if isinstance(vocab, Mapping):
        special = special - _merged(model)
        last = max((i for token, i in vocab.items() if token not in special), default=-1)
        return {
            f" {token}" if token in special else token: i
            for token, i in vocab.items()
            if token not in special or i <= last or token == unknown
        }
    entries = [list(entry) for entry in vocab]
    while entries and entries[-1][0] in special and len(entries) - 1 != unknown:
        entries.pop()
    return [[f" {entry[0]}" if entry[0] in special else entry[0], *entry[1:]] for entry in entries]


def precompiled(model: SpmModel) -> dict[str, Any] | None:
    """The character map of a SentencePiece model as a normaliser of the library tokenizers."""
    if not model.charsmap:
        return None
    charsmap = base64.b64encode(model.charsmap).decode("ascii")
    return {"type": "Precompiled", "precompiled_charsmap": charsmap}


METASPACE = {
    "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True,
}  # fmt: skip
"""A word's beginning is marked with U+2581, the first word's too."""

WORDS = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]}
"""Split at white space, each word marked: T5, XLM-RoBERTa."""


def assembled(
    model: Mapping[str, Any], normalizer: Any, pre_tokenizer: Any, marks: Sequence[str]
) -> dict[str, Any]:
    """A `tokenizer.json` of these parts.

    Args:
        model: its ``model``.
        normalizer: its steps before the splitting, or ``None``.
        pre_tokenizer: how it splits a text.
        marks: spellings of the vocabulary that are special.
    """
    vocab = model["vocab"]
    ids = vocab if isinstance(vocab, Mapping) else {entry[0]: i for i, entry in enumerate(vocab)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None,
        "post_processor": None,
        "added_tokens": [
            {"id": ids[mark], "content": mark, "special": True, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False}
            for mark in marks if mark in ids
        ],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "model": dict(model),
    }  # fmt: skip


def unigram(pieces: Sequence[tuple[str, float]], unknown: int) -> dict[str, Any]:
    """The ``model`` of a unigram vocabulary."""
    vocab = [[text, score] for text, score in pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": False}
