"""Text that comes from others, written so that it is safe to print or to put into a message."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

STEERS = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"  # bidirectional controls, line separators
    "\ufff9-\ufffb\ud800-\udfff"  # interlinear annotation, lone surrogates
    "]"
)
"""What a terminal obeys or reorders by. Joiners are not among it: emoji and Persian need them."""


def visible(text: str) -> str:
    """``text`` with everything that steers a terminal written as an escape (``\\x1b``).

    Line feeds and tabs stay. The result can be encoded in UTF-8 whatever ``text`` holds.
    """
    return STEERS.sub(_escape, text)


def one_line(text: str, longest: int = 120) -> str:
    """:func:`visible`, on one line of at most ``longest`` characters."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def listed(names: Collection[str], maximum: int = 8) -> str:
    """``a, b and 3 more``: the first names, each on one line and not too long."""
    shown = ", ".join(one_line(name, 60) for name in islice(names, maximum))
    more = len(names) - maximum
    return f"{shown} and {more:,} more" if more > 0 else shown


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
