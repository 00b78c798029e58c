"""JSON from outside, as RFC 8259 has it: finite numbers, whole text, no name twice.

Python's own reader accepts ``NaN``, ``Infinity``, ``1e999`` (as infinity), halves of surrogate
pairs (which no file and no terminal can show) and objects that give one name twice.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_LONGEST_NUMBER = 400  # characters; 2^1000 has 302
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # UTF-8 itself cannot hold a half
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: it is not JSON in UTF-8, or nested too deeply; says why in one line.
    """
    try:
        text = data.decode("utf-8-sig")
        found = json.loads(
            text,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if _ESCAPED.search(text) is not None:
        _check_texts(found)
    return found


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object gives one name twice")
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
