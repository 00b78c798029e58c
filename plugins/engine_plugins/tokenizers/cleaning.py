"""What open_clip and transformers do to a text before its tokenizer sees it.

Sources: github.com/mlfoundations/open_clip, ``tokenizer.py``; the canonical form is big_vision's
(github.com/google-research/big_vision, ``prompt_engineering.py``).
"""

from __future__ import annotations

import html
import re
import string

import ftfy

from engine.contracts.unicode import bounded_normalise

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def mended(text: str) -> str:
    """``ftfy.fix_text``, whose own normalisation takes time quadratic in a run of marks."""
    while True:
        found = ftfy.fix_text(text, normalization=None)
        text = bounded_normalise("NFC", found)
        if text == found:
            return text


def unescaped(text: str) -> str:
    """Wrong encodings mended, HTML unescaped twice: open_clip's ``basic_clean`` but for spaces."""
    if text.isascii() and text.isprintable() and "&" not in text:  # nothing to mend there
        return text
    return html.unescape(html.unescape(mended(text)))


def cleaned(text: str, how: str) -> str:
    """A text as open_clip's ``HFTokenizer`` hands it on.

    Args:
        text: the text.
        how: ``"none"``, ``"whitespace"``, ``"lower"`` or ``"canonicalize"``.
    """
    if how == "none":
        return text
    text = unescaped(text).strip()
    if how == "canonicalize":
        return " ".join(text.replace("_", " ").translate(_NO_PUNCTUATION).lower().split())
    text = " ".join(text.split())
    return text.lower() if how == "lower" else text


def siglip_canonical(text: str, *, lower: bool) -> str:
    """A text as transformers' ``SiglipTokenizer`` hands it to SentencePiece."""
    text = text.lower() if lower else text
    return re.sub(r"\s+", " ", text.translate(_NO_PUNCTUATION)).strip()
