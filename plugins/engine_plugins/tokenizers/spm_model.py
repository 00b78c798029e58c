"""SentencePiece's `.model` files: the protobuf message, and the normalisation it asks for.

Format: repository google/sentencepiece, `src/sentencepiece_model.proto` (the message) and
`src/normalizer.cc` (the character map: a Darts double array over the replaced strings).
"""

from __future__ import annotations

import math
import re
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from engine.errors import WeightsError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2

SPACE = "▁"  # U+2581 stands for the space
EXTRA = re.compile("▁?<extra_id_[0-9]+>")
"""T5's sentinels, which no text gives."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Far beyond any real character map: NFKC's has 225,276 keys of up to 12 bytes, and replaces them by
# up to 33.
_MAX_KEYS, _LONGEST_KEY, _LONGEST_REPLACEMENT = 1_000_000, 64, 128  # in nodes and bytes
_LONGEST_PIECE = 256  # characters; SentencePiece's own default is 16
_Field = tuple[int, int | bytes]


@dataclass(frozen=True)
class Piece:
    """One piece: its spelling, its score (a logarithm, or minus its rank) and its type."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class SpmModel:
    """What a `.model` file says, as far as encoding goes.

    Attributes:
        pieces: by id.
        type: :data:`UNIGRAM` or :data:`BPE`.
        byte_fallback: an unknown character becomes its bytes.
        begin: id of the begin mark, -1 for none.
        end: id of the end mark, -1 for none.
        pad: id of padding, -1 for none.
        charsmap: the character map, empty for none.
        dummy_prefix: a space before the text.
        fold_spaces: spaces at both ends go, several in a row become one.
    """

    pieces: tuple[Piece, ...]
    type: int
    byte_fallback: bool
    begin: int
    end: int
    pad: int
    charsmap: bytes
    dummy_prefix: bool
    fold_spaces: bool


def parse_model(data: bytes, where: str) -> SpmModel:
    """Parse a `.model` file.

    Raises:
        WeightsError: it is none, or one of a sort that is not supported; says why.
    """
    try:
        pieces: list[Piece] = []
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        for field, value in _fields(data):
            if field == 1:
                pieces.append(_piece(_as_bytes(value)))
            elif field == 2:
                trainer.update(_fields(_as_bytes(value)))
            elif field == 3:
                normalizer.update(_fields(_as_bytes(value)))
        while pieces and pieces[-1].type != NORMAL and EXTRA.fullmatch(pieces[-1].text):
            pieces.pop()
        model = SpmModel(
            pieces=tuple(pieces),
            type=_as_int(trainer.get(3, UNIGRAM)),
            byte_fallback=bool(_as_int(trainer.get(35, 0))),
            begin=_as_int(trainer.get(41, 1)),
            end=_as_int(trainer.get(42, 2)),
            pad=_as_int(trainer.get(43, -1)),
            charsmap=_as_bytes(normalizer.get(2, b"")),
            dummy_prefix=bool(_as_int(normalizer.get(3, 1))),
            fold_spaces=bool(_as_int(normalizer.get(4, 1))),
        )
        unsupported = _unsupported(model, trainer, normalizer)
    except (ValueError, struct.error) as error:
        raise WeightsError(
            f"{where} is not a SentencePiece model: {error}",
            hint="expected a `.model` file as SentencePiece writes it, whole",
        ) from error
    if unsupported:
        raise WeightsError(f"{where}: a SentencePiece model with {unsupported} is not supported")
    return model


def _unsupported(
    model: SpmModel, trainer: dict[int, int | bytes], normalizer: dict[int, int | bytes]
) -> str | None:
    types = [piece.type for piece in model.pieces]
    if types.count(UNKNOWN) != 1:
        raise ValueError(f"{len(types)} pieces, {types.count(UNKNOWN)} of them for the unknown")
    if len({piece.text for piece in model.pieces}) != len(model.pieces):
        raise ValueError("two of its pieces are spelled alike")
    if max(model.begin, model.end, model.pad) >= len(model.pieces):
        raise ValueError("a special id is out of range")
    if model.type not in (UNIGRAM, BPE):
        return "words or characters as pieces"
    if USER_DEFINED in types or UNUSED in types:
        return "user-defined or unused pieces"
    if _as_int(trainer.get(24, 0)):
        return "the space as a suffix"
    if not _as_int(normalizer.get(5, 1)):
        return "spaces that are not escaped"
    return None


# A text of less than 128 bytes, a score, and perhaps a type: the form of nearly every piece. There
# are 250,000 in a large model, and field by field each takes ten times as long.
_USUAL = re.compile(rb"\x0a([\x01-\x7f])(.*)\x15(.{4})(?:\x18([\x00-\x7f]))?", re.DOTALL)


def _piece(data: bytes) -> Piece:
    usual = _USUAL.fullmatch(data)
    if usual is not None and len(usual[2]) == usual[1][0]:
        spelled, packed = usual[2], usual[3]
        kind = NORMAL if usual[4] is None else usual[4][0]
    else:
        fields = dict(_fields(data))
        spelled, packed = _as_bytes(fields.get(1, b"")), _as_bytes(fields.get(2, b"\0" * 4))
        kind = _as_int(fields.get(3, NORMAL))
    score = struct.unpack("<f", packed)[0]
    text = spelled.decode("utf-8")
    if not text or len(text) > _LONGEST_PIECE or not math.isfinite(score):
        raise ValueError("a piece is empty or very long, or its score is not a finite number")
    return Piece(text, score, kind)


def _fields(data: bytes) -> Iterator[_Field]:
    """The fields of a protobuf message: numbers as int, everything else as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, place = _varint(data, place)
        else:
            if kind == _BYTES:
                length, place = _varint(data, place)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"wire type {kind} at byte {place}")
            value = data[place : place + length]
            if len(value) != length:
                raise ValueError(f"it ends inside of a field, at byte {len(data)}")
            place += length
        yield key >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    if place < len(data) and data[place] < 0x80:  # nearly always
        return data[place], place + 1
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError(f"it ends inside of a number, at byte {place}")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number that does not end, at byte {place}")


def _as_int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a text where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a text belongs")
    return value


class Normalizer:
    """SentencePiece's own normalisation: the character map, then spaces.

    The library `tokenizers` reads the same map, but takes the shortest match within a grapheme
    where SentencePiece takes the longest in the text (half-width ｶﾞ, for one), so it is done here.

    Args:
        charsmap: the character map, empty for none.
        dummy_prefix: a space before the text.
        fold_spaces: spaces at both ends go, several in a row become one.

    Raises:
        ValueError: the map is damaged.
    """

    def __init__(self, charsmap: bytes, *, dummy_prefix: bool, fold_spaces: bool) -> None:
        self._prefix = SPACE if dummy_prefix else ""
        self._fold = fold_spaces
        table = dict(entries(charsmap)) if charsmap else {}
        self._single = {ord(key): text for key, text in table.items() if len(key) == 1}
        self._several = {key: text for key, text in table.items() if len(key) > 1}
        self._longest = max(map(len, self._several), default=1)
        # Only where one of these stands can a match be longer than one character.
        followers = {character for key in self._several for character in key[1:]}
        self._follower = (
            re.compile("[" + "".join(map(re.escape, sorted(followers))) + "]")
            if followers
            else None
        )

    def __call__(self, text: str) -> str:
        """The text as SentencePiece segments it: spaces as U+2581, one before it."""
        text = self._replace(text)
        if self._fold:
            text = re.sub(" {2,}", " ", text).strip(" ")
        if not text:
            return ""
        text = self._prefix + text.replace(" ", SPACE)
        return text.rstrip(SPACE) if self._fold else text

    def _replace(self, text: str) -> str:
        if self._follower is None or self._follower.search(text) is None:
            return text.translate(self._single)
        out: list[str] = []
        place = 0
        while place < len(text):
            for length in range(min(self._longest, len(text) - place), 1, -1):
                if (found := self._several.get(text[place : place + length])) is not None:
                    out.append(found)
                    place += length
                    break
            else:
                out.append(self._single.get(ord(text[place]), text[place]))
                place += 1
        return "".join(out)


def entries(charsmap: bytes) -> Iterator[tuple[str, str]]:
    """Every (string, replacement) of a character map.

    Raises:
        ValueError: it is damaged, or larger than any real one.

    Layout: the trie's bytes as uint32, the trie (a Darts double array of uint32 units), then the
    replacements, each ended by a zero byte. All little endian.
    """
    if len(charsmap) < 4:
        raise ValueError("the character map is cut off")
    (size,) = struct.unpack_from("<I", charsmap)
    if size % 4 or size == 0 or 4 + size > len(charsmap):
        raise ValueError("the character map is cut off")
    units = array("I", charsmap[4 : 4 + size])
    if sys.byteorder == "big":
        units.byteswap()
    replacements = charsmap[4 + size :]
    # A unit with label c whose node begins its children at `base` stands at `base ^ c`.
    children: dict[int, list[int]] = {}
    for place, unit in enumerate(units):
        if not unit >> 31 and unit & 0xFF:
            children.setdefault(place ^ (unit & 0xFF), []).append(place)
    stack = [(0, b"")]
    visited = 0
    while stack:
        place, key = stack.pop()
        visited += 1
        # Equal subtrees are shared, so there may be more keys than units, but not without end.
        if visited > _MAX_KEYS or len(key) > _LONGEST_KEY:
            raise ValueError("the character map's trie runs in a circle")
        unit = units[place]
        base = place ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6))
        if unit >> 8 & 1:
            if base >= len(units):
                raise ValueError("the character map's trie points outside of itself")
            start = units[base] & 0x7FFFFFFF
            end = replacements.find(b"\0", start, start + _LONGEST_REPLACEMENT + 1)
            if start > len(replacements) or end < 0:
                raise ValueError("the character map points outside of itself")
            yield key.decode("utf-8"), replacements[start:end].decode("utf-8")
        stack.extend(
            (child, key + bytes([units[child] & 0xFF])) for child in children.get(base, ())
        )
