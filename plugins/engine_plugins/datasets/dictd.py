"""Dictionaries in dictd's format: headwords, and the words that translate them. Standard library.

A dictionary is two files: ``NAME.index`` (a headword, an offset and a size a line, in base 64) and
``NAME.dict.dz`` (gzip) or ``NAME.dict``. Source: RFC 2229 and the manual of dictfmt. What stands in
an entry is written for people; :func:`translations` reads the conventions of FreeDict and Mueller.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import DataError

MAX_BYTES = 256 << 20
"""Most bytes of a dictionary, uncompressed."""
_MAX_ENTRY = 1 << 16
_MAX_HEADWORD = 256
_MAX_PHRASE = 60
_MAX_WORDS = 5

_DIGITS = {c: i for i, c in enumerate(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A headword and what stands under it, without its first line's headword."""

    headword: str
    text: str


def read_dictd(path: Path, leave_out: Callable[[str], None] | None = None) -> Iterator[Entry]:
    """The entries of a dictionary in the order of its index.

    Args:
        path: without suffix: ``/usr/share/dictd/mueller7``.
        leave_out: called for each entry that is left out, with the reason: ``malformed`` (a line of
            the index without its three columns) or ``overlong`` (a headword of more than 256 bytes,
            an entry of more than 64 KiB).

    Raises:
        DataError: a file is missing, damaged, too large or not in UTF-8.
    """
    data, index = _read_text(path), _read_file(path.with_name(f"{path.name}.index"))
    for number, line in enumerate(index.split(b"\n"), 1):
        parts = line.split(b"\t")
        if len(parts) < 3:
            if line.strip() and leave_out is not None:
                leave_out("malformed")
            continue
        if parts[0].startswith((b"00database", b"00-database")):
            continue
        start, size = (_number(part, path, number) for part in parts[1:3])
        if start + size > len(data):
            raise DataError(f"{path}.index, line {number}: the entry lies beyond the dictionary")
        if size > _MAX_ENTRY or len(parts[0]) > _MAX_HEADWORD:
            if leave_out is not None:
                leave_out("overlong")
            continue
        yield Entry(
            _decoded(parts[0], path, f"index, line {number}").strip(),
            _decoded(data[start : start + size], path, f"entry of line {number}"),
        )


def _read_text(path: Path) -> bytes:
    for name in (f"{path.name}.dict.dz", f"{path.name}.dict"):
        file = path.with_name(name)
        if file.is_file():
            return _unpacked(file) if name.endswith(".dz") else _read_file(file)
    raise DataError(
        f"{path}.dict.dz is missing", hint="name a dictionary of dictd by its path without suffix"
    )


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file: {error}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_BYTES >> 20} MiB")
    return data


def _number(text: bytes, path: Path, line: int) -> int:
    found = 0
    for character in text.decode("ascii", "replace"):
        if character not in _DIGITS or len(text) > 8:
            raise DataError(f"{path}.index, line {line}: `{text[:20]!r}` is not a number")
        found = found * 64 + _DIGITS[character]
    return found


def _decoded(data: bytes, path: Path, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, {where}: not UTF-8 ({error.reason} at byte {error.start})",
            hint="convert the dictionary with dictfmt --utf8, or use one that is in UTF-8",
        ) from error


_LATIN = re.compile(r"[A-Za-z]")
_LABEL = re.compile(r"_\w+\.?:?")  # `_зоол.`, `_n.`
_BRACKETS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|/[^/\n]*/|<[^<>]*>")
_HOMONYM = re.compile(r"_?\b[IVX]+\b")
_MEANING = re.compile(r"(?:(?<=\s)|^)(?:\d+[.)]|\w\))(?=\s|$)")
_PIECES = re.compile(r"[;,]")
_EDGES = " \t\n.:!?-–—\"'«»*~="


def translations(entry: Entry, *, latin: bool) -> list[str]:
    """The translations in an entry, in their order, each once.

    Remarks in brackets, labels, pronunciations and numbers are left out. A meaning ends where an
    example begins, which shows where the headword's script differs from the translation's.

    Args:
        entry: of a dictionary.
        latin: whether translations are written in the Latin script; then examples cannot be seen.
    """
    text = entry.text
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith(entry.headword.lower()):
        text = rest or first.strip()[len(entry.headword) :]
    text = _BRACKETS.sub(" ", _BRACKETS.sub(" ", text))
    found: dict[str, None] = {}
    for meaning in _MEANING.split(text):
        for piece in _PIECES.split(_LABEL.sub(" ", meaning)):
            piece = piece if latin else _HOMONYM.sub(" ", piece)
            example = None if latin else _LATIN.search(piece)
            if example is not None:
                piece = piece[: example.start()]
            plain = " ".join(piece.split()).strip(_EDGES)
            if _is_phrase(plain):
                found.setdefault(plain)
            if example is not None:
                break
    return list(found)


def _is_phrase(text: str) -> bool:
    """Whether a piece can be a word or a short phrase: no remark that was cut in two."""
    if not 1 < len(text) <= _MAX_PHRASE or len(text.split()) > _MAX_WORDS:
        return False
    return any(c.isalpha() for c in text) and not any(c in "()[]{}<>|/\\_" for c in text)
