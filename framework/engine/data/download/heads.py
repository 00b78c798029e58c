"""The heads of answers as browsers understand them, so that aiohttp's strict parser does, too.

Servers send a ``Content-Length`` twice, or one beside ``Transfer-Encoding: chunked``, and lines
that are not headers. Browsers read such answers; llhttp, which aiohttp parses with, refuses them,
since a proxy must. A client that takes one answer from one connection loses nothing by reading
them: after a head that had to be mended, the connection is not used again.
"""

from __future__ import annotations

import re

MAX_BYTES = 1 << 18
"""Bytes of a head; Chromium's limit."""

_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SOUND = re.compile(
    rb"HTTP/1\.[01] (?:[02-9][0-9]{2}|101)(?: [^\r\n\0]*)?\r\n(?:"
    + _TOKEN
    + rb":[^\r\n\0]*\r\n)*\r\n"
)
_STATUS = re.compile(rb"HTTP/([0-9])(?:\.[0-9]+)?[ \t]+([0-9]{3})(?![0-9])", re.IGNORECASE)
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)")
_NAME = re.compile(_TOKEN)
_FRAMING = (b"content-length", b"transfer-encoding")
_FRAMING_LINE = re.compile(rb"(?im)^(?:content-length|transfer-encoding)[ \t]*:[^\n]*\n")
_PLAIN_FRAMING = re.compile(
    rb"(?i)(?:content-length:[ \t]*[0-9]{1,18}|transfer-encoding:[ \t]*chunked)[ \t]*\r\n"
)
_LONGEST_NUMBER = 18  # digits; a longer one counts as so many nines


class HeadTooLongError(Exception):
    """A head of more than ``MAX_BYTES`` bytes."""


class Heads:
    """Takes the bytes of one answer in pieces and gives them back with a mended head."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._whole = False
        self.mended = False
        """Whether a head was not as it should be: the connection should not be used again."""

    def feed(self, data: bytes) -> bytes:
        """The bytes for the parser; nothing while the head is not there whole.

        Raises:
            HeadTooLongError: it never seems to end.
        """
        if self._whole:
            return data
        if not self._buffer and _is_sound(data[: data.find(b"\r\n\r\n") + 4]):
            self._whole = True  # nearly every answer, in one piece and with nothing to mend
            return data
        ready = b""
        seen = len(self._buffer)
        self._buffer += data if seen else data.lstrip(b"\r\n")
        while not self._whole:
            if self._buffer[:5].upper() != b"HTTP/"[: len(self._buffer)]:
                break  # not HTTP: the parser says so at once
            end = _END.search(self._buffer, max(0, seen - 3))
            if end is None:
                if len(self._buffer) > MAX_BYTES:
                    raise HeadTooLongError(f"a head of over {MAX_BYTES:,} bytes")
                return ready
            if end.end() > MAX_BYTES:
                raise HeadTooLongError(f"a head of over {MAX_BYTES:,} bytes")
            head = bytes(self._buffer[: end.end()])
            del self._buffer[: end.end()]
            seen = 0
            good = mend(head)
            self.mended |= good is not head
            # A head of a hundred is followed by another (103, Early Hints).
            self._whole = not _INTERIM.match(good)
            ready += good
        self._whole = True
        return ready + self.rest()

    def rest(self) -> bytes:
        """What was held back when the connection ended."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        return rest


def mend(head: bytes) -> bytes:
    """A head up to its empty line, as llhttp accepts it; the same object where nothing is wrong.

    Equal lengths become one, lengths beside ``chunked`` go, and so do lengths that are not numbers
    (the body then ends with the connection), folded lines are joined, and lines without a header's
    name are left out. Different lengths stay, so that the parser refuses them, as browsers do.
    """
    if _is_sound(head) or _INTERIM.match(head):
        return head
    lines = re.split(rb"\r?\n", head.strip(b"\r\n"))
    status = _STATUS.match(lines[0])
    if status is None:
        return head  # not HTTP at all; the parser says so
    first = b"HTTP/1.%d %s" % (0 if lines[0][5:8] == b"1.0" else 1, status[2])
    fields = _fields(lines[1:])
    kept = [(name, value) for name, value in fields if name.lower() not in _FRAMING]
    return b"\r\n".join(
        [first, *(name + b": " + value for name, value in [*kept, *_framing(fields)]), b"", b""]
    )


def _is_sound(head: bytes) -> bool:
    """Whether it is the whole head of a last answer, and nothing is to be mended."""
    if not _SOUND.fullmatch(head):
        return False
    framing = _FRAMING_LINE.findall(head)
    return not framing or (len(framing) == 1 and bool(_PLAIN_FRAMING.fullmatch(framing[0])))


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Names and values; a line that begins with white space goes on with the one before it."""
    found: list[tuple[bytes, list[bytes]]] = []
    for line in lines:
        line = line.replace(b"\0", b" ").replace(b"\r", b" ")
        if line[:1] in (b" ", b"\t"):
            if found:
                found[-1][1].append(line.strip())
            continue
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if colon and _NAME.fullmatch(name):
            found.append((name, [value.strip(b" \t")]))
    return [(name, b" ".join(values)) for name, values in found]


def _framing(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What says where the body ends, once and without contradiction."""
    codings = _values(fields, b"transfer-encoding")
    if b"chunked" in codings:
        return [(b"Transfer-Encoding", b"chunked")]
    lengths = {
        value.lstrip(b"0") or b"0"
        for value in _values(fields, b"content-length")
        if value.isdigit()
    }
    return [
        (b"Content-Length", value if len(value) <= _LONGEST_NUMBER else b"9" * _LONGEST_NUMBER)
        for value in sorted(lengths)
    ]


def _values(fields: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [
        value.strip(b" \t").lower()
        for name, values in fields
        if name.lower() == wanted
        for value in values.split(b",")
    ]
