"""What comes from others: JSON files and names, read strictly and within bounds.

``json.loads`` takes whatever it is given: a file of any size, ``NaN``, a key that stands twice (the
last one wins), numbers of thousands of digits, brackets nested until the interpreter gives up. Each
of these is refused here in one line. Imports nothing heavy.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import IO, Any

from engine.errors import DataError
from engine.terminal import one_line

MOST_BYTES = 64 << 20
"""Bytes of a JSON file that is read whole: answers to some three million images."""

MOST_DIGITS = 18
"""Digits of a whole number: such a one fits into 64 bits."""


def clean_name(text: str) -> str:
    """``text`` with each lone surrogate written as an escape: ``caf\\udce9``.

    A file name is bytes: where they are not UTF-8, Python's ``str`` of it holds lone surrogates,
    and so does JSON that says ``"\\ud800"``. Such a text can neither be written nor be printed. It
    is cleaned where it enters, so that it costs no more than its own spelling. Different texts stay
    different unless one already holds such an escape; a text that UTF-8 can hold stays as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def read_json(path: Path, *, most_bytes: int = MOST_BYTES, hint: str | None = None) -> Any:
    """Read a JSON file in UTF-8, with or without a byte order mark.

    Keys are given as :func:`clean_name` gives them.

    Args:
        path: the file.
        most_bytes: a larger file is refused before it is parsed.
        hint: what was expected, for an error.

    Raises:
        DataError: it is missing, not a plain file, too large, not UTF-8 or not JSON by RFC 8259;
            an object has a key twice; a number is not finite or longer than ``MOST_DIGITS``.
    """
    if not path.is_file():
        what = "is not a file" if path.exists() else "no such file"
        raise DataError(f"{path}: {what}", hint=hint)
    try:
        with path.open("rb") as file:
            data = _read(file, most_bytes + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error
    if len(data) > most_bytes:
        raise DataError(f"{path} is too large: {most_bytes:,} bytes are allowed", hint=hint)
    return parse_json(data, str(path), hint=hint)


def _read(file: IO[bytes], count: int) -> bytes:
    """At most ``count`` bytes; memory is taken for what is there, not for what might be."""
    pieces, left = [], count
    while left and (piece := file.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def parse_json(data: bytes, where: str, *, hint: str | None = None) -> Any:
    """Parse what :func:`read_json` reads.

    Raises:
        DataError: as there.
    """
    try:
        return json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_object, parse_int=_whole,
            parse_float=_number, parse_constant=_constant,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 text: {error.reason} at byte {error.start:,}", hint=hint
        ) from error
    except RecursionError as error:
        raise DataError(
            f"{where} is not JSON that is read: its brackets are nested too deeply", hint=hint
        ) from error
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}", hint=hint) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: of two answers for an image, neither is the right one."""
    found = {clean_name(key): value for key, value in pairs}
    if len(found) != len(pairs):
        counts = Counter(clean_name(key) for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f'the key "{one_line(twice, 60)}" stands twice')
    return found


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"the number {one_line(text, 40)} has more than {MOST_DIGITS} digits")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {one_line(text, 40)} is too large")
    return value


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")
