"""JSON from outside, as RFC 8259 has it: finite numbers, whole text, no name twice.

Python's own reader accepts ``NaN``, ``Infinity``, ``1e999`` (as infinity), halves of surrogate
pairs (which no file and no terminal can show) and objects that give one name twice.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.printable import one_line

LONGEST_NUMBER = 400
"""Digits of a whole number; 2^1000 has 302."""

_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # UTF-8 itself cannot hold a half
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(
    data: bytes,
    *,
    longest_number: int = LONGEST_NUMBER,
    clean: Callable[[str], str] | None = None,
) -> Any:
    """Parse JSON.

    Args:
        data: UTF-8, with or without a byte order mark.
        longest_number: digits of a whole number.
        clean: makes a name of an object whole where it holds half of a surrogate pair; texts that
            are values may then hold halves too. ``None``: both are refused.

    Raises:
        ValueError: it is not JSON in UTF-8, or nested too deeply; says why in one line.
    """

    def integer(text: str) -> int:
        if len(text.lstrip("-")) > longest_number:
            raise ValueError(f"the number {one_line(text, 40)} has {len(text):,} digits")
        return int(text)

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return _object(pairs if clean is None else [(clean(name), each) for name, each in pairs])

    try:
        text = data.decode("utf-8-sig")
        found = json.loads(
            text,
            parse_int=integer,
            parse_float=_float,
            parse_constant=_constant,
            object_pairs_hook=object_of,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if clean is None and _ESCAPED.search(text) is not None:
        _check_texts(found)
    return found


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values for one name, neither is the right one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise ValueError(f'the key "{one_line(twice, 60)}" stands twice')
    return found


def _check_texts(value: Any) -> None:
    """Raise ValueError where a text, at any place, holds half of a surrogate pair."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            left += item
        elif isinstance(item, str) and _SURROGATE.search(item) is not None:
            raise ValueError("a text holds half of a surrogate pair")
