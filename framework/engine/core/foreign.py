"""What users of the contest's layout bring: names and JSON files, read strictly, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.core.regular_file import read_regular
from engine.core.strict_json import parse_json
from engine.errors import DataError

MAX_BYTES = 64 << 20
"""Bytes of a JSON file that is read whole: answers to some three million images."""

_LONGEST_NUMBER = 18
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


def read_json(path: Path, *, most_bytes: int = MAX_BYTES, hint: str | None = None) -> Any:
    """Read a JSON file by :func:`engine.core.strict_json.parse_json`, keys by :func:`clean_name`.

    Args:
        path: the file.
        most_bytes: a larger file is refused before it is parsed.
        hint: what was expected, for an error.

    Raises:
        DataError: it is missing, not a plain file, too large, not UTF-8 or not JSON by RFC 8259;
            an object has a key twice; a number is not finite or too long for 64 bits.
    """
    try:
        return parse_json(
            read_regular(path, most_bytes), longest_number=_LONGEST_NUMBER, clean=clean_name
        )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file", hint=hint) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start:,}"
        raise DataError(f"{path} is not UTF-8 text: {reason}", hint=hint) from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}", hint=hint) from error
