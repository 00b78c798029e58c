"""The contest's training files: JSON lines from anywhere, a bad line costs that line alone.

``metadata.json`` has ``{"image": 1, "queries": ["...", "..."]}`` a line, ``images.json``
``{"image": 1, "url": "http://..."}``. Nothing here imports torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from engine.contracts.dataset import Record

MAX_LINE = 1 << 20
"""Bytes of a line; a longer one is a bad line and is never in memory whole."""

# An id becomes a file's name, and anybody may have written it.
_SAFE_ID = re.compile(r"[^./\\:\x00-\x1f\x7f][^/\\:\x00-\x1f\x7f]{0,199}")

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")

_LONGEST_NUMBER = 10**200
_MAX_WRITTEN = 1 << 63  # JSON readers in other languages know 64-bit integers with a sign

REASONS = (
    "longer than 1 MiB",
    "not UTF-8",
    "not JSON",
    "not an object",
    "no `image`",
    "`image` is neither a whole number from 0 nor a plain file name",
    "no `queries`",
    "`queries` is not a list of texts",
    "no query that is not empty",
    "an image that an earlier line has",
    "no `url`",
    "`url` is not a text",
)
"""Everything that may be wrong with a line. A reason's place in this list is its code."""

REPEATED = REASONS.index("an image that an earlier line has")
"""The code for what no line can show alone."""


class BadLineError(Exception):
    """A line that is not a row. ``code`` is the reason's place in ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.code = REASONS.index(reason)


def read_lines(file: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """The lines of a file open at its beginning; empty ones are passed over.

    Yields:
        Number of the line from 1, its start in bytes, and the line. Of a line longer than
        ``MAX_LINE`` only the first ``MAX_LINE + 1`` bytes are given, which the parsers refuse.
    """
    start, number = 3 if file.read(3) == b"\xef\xbb\xbf" else 0, 0
    file.seek(start)
    while line := file.readline(MAX_LINE + 1):
        number += 1
        length, end = len(line), line
        while len(end) == MAX_LINE + 1 and not end.endswith(b"\n"):
            end = file.readline(MAX_LINE + 1)
            length += len(end)
        if line.strip():
            yield number, start, line
        start += length


def parse_queries(line: bytes) -> Record:
    """One line of ``metadata.json``.

    Raises:
        BadLineError: with one of the reasons.
    """
    row = _parse(line)
    if "queries" not in row:
        raise BadLineError("no `queries`")
    return Record(_image_id(row["image"]), _queries(row["queries"]))


def parse_url(line: bytes) -> tuple[str, str]:
    """One line of ``images.json``: the image's id and its URL, which may still be anything.

    Raises:
        BadLineError: with one of the reasons.
    """
    row = _parse(line)
    if "url" not in row:
        raise BadLineError("no `url`")
    url = row["url"]
    if not isinstance(url, str) or not _is_text(url):
        raise BadLineError("`url` is not a text")
    return _image_id(row["image"]), url


def _parse(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise BadLineError("longer than 1 MiB")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadLineError("not UTF-8") from None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise BadLineError("not JSON") from None
    if not isinstance(row, dict):
        raise BadLineError("not an object")
    if "image" not in row:
        raise BadLineError("no `image`")
    return row


def written_id(id_: str) -> int | str:
    """An image's id as it is written to JSON: the contest numbers its images, so a number is one.

    What the parsers read from it is ``id_`` again. Numbers from 2^63 upwards, and others that a
    64-bit reader would round or refuse, stay texts.
    """
    return int(id_) if _NUMBER.fullmatch(id_) and int(id_) < _MAX_WRITTEN else id_


def _image_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LONGEST_NUMBER:
        return str(value)
    if isinstance(value, str) and _SAFE_ID.fullmatch(value) and _is_text(value):
        return value
    raise BadLineError("`image` is neither a whole number from 0 nor a plain file name")


def _queries(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(q, str) and _is_text(q) for q in value):
        raise BadLineError("`queries` is not a list of texts")
    queries = tuple(query for query in value if query.strip())
    if not queries:
        raise BadLineError("no query that is not empty")
    return queries


def _is_text(value: str) -> bool:
    """Whether it holds no half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
