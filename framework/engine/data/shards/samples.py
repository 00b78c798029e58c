"""WebDataset tars: consecutive members with one key are a sample, a picture with its texts.

A member is named ``folder/000123.jpg``: the key is what stands before the first dot of the file's
name, the rest says what it is. Members without a key, links and folders are passed over.

Source: github.com/webdataset/webdataset, "The WebDataset Format".
"""

from __future__ import annotations

import io
import json
import re
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from engine.data.shards.blocks import BlockFile, Blocks
from engine.data.shards.tar import BadTarError, Member, members_of
from engine.data.store_folder import StoredFile
from engine.errors import DataError

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
TEXTS = ("json", "txt", "text", "caption")
FIELDS = ("queries", "texts", "captions", "caption", "text")
"""Names under which JSON objects and tables have texts, in the order of preference."""

MAX_TEXT = 1 << 20
_MAX_KEY = 1024
_KEYED = re.compile(r"((?:.*/|)[^./][^./]*)\.([^/]+)", re.DOTALL)


def read_samples(
    blocks: Blocks, file: StoredFile, texts: Sequence[str] = TEXTS
) -> dict[str, NDArray[Any]]:
    """Where the samples of a tar lie; only headers are looked at.

    Args:
        blocks: of the folder.
        file: the tar.
        texts: endings of members that hold texts; of several the first of this list is taken.

    Returns:
        ``offset`` and ``size`` of the picture and ``text_offset``, ``text_size``, ``text_kind``
        (the place in ``texts``) of the text, by sample (size 0: there is none); ``keys``, the keys
        as UTF-8 end to end, and ``key_ends``.

    Raises:
        DataError: not a tar, or cut off.
    """
    raw = io.BufferedReader(BlockFile(blocks, file.name, file.size), 1 << 16)
    columns = {name: array("Q") for name in
               ("offset", "size", "text_offset", "text_size", "text_kind", "key_ends")}  # fmt: skip
    keys = bytearray()
    try:
        for key, parts in _samples(cast("BinaryIO", raw), file.size):
            picture = next((parts[name] for name in PICTURES if name in parts), None)
            if picture is None or not picture.size:
                continue
            kind = next((i for i, name in enumerate(texts) if name in parts), None)
            text = Member("", 0, 0) if kind is None else parts[texts[kind]]
            keys += key.encode()
            for name, value in (
                ("offset", picture.offset), ("size", picture.size), ("key_ends", len(keys)),
                ("text_offset", text.offset), ("text_size", text.size), ("text_kind", kind or 0),
            ):  # fmt: skip
                columns[name].append(value)
    except BadTarError as error:
        raise DataError(f"{blocks.folder.url}/{file.name} is not a whole tar: {error}") from error
    found: dict[str, NDArray[Any]] = {
        name: np.asarray(values, dtype=np.uint64) for name, values in columns.items()
    }
    for name in ("size", "text_size", "text_kind"):
        found[name] = found[name].astype(np.uint32)
    found["keys"] = np.frombuffer(bytes(keys), dtype=np.uint8)
    return found


def _samples(file: BinaryIO, end: int) -> Iterator[tuple[str, Mapping[str, Member]]]:
    """Keys with their members by ending, in small letters."""
    now, parts = "", dict[str, Member]()
    for member in members_of(file, end, strict=False):
        match = _KEYED.fullmatch(member.name)
        if match is None or len(match[1].encode()) > _MAX_KEY or match[1].startswith("__"):
            continue
        key, kind = match[1], match[2].lower()
        if key != now or kind in parts:
            if parts:
                yield now, parts
            now, parts = key, {}
        parts[kind] = member
    if parts:
        yield now, parts


def texts_of(value: Any, fields: Collection[str] = FIELDS) -> tuple[str, ...]:
    """Texts out of a text, a list of texts, or an object that has them under one of some names.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, Mapping):
        value = next((value[name] for name in fields if value.get(name) is not None), [])
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"texts are expected, not a {type(value).__name__}")
    return tuple(text.strip() for text in value if text.strip())


def parse_texts(data: bytes, kind: str, fields: Collection[str] = FIELDS) -> tuple[str, ...]:
    """The texts of a member.

    Args:
        data: its bytes.
        kind: its ending; what ends in ``json`` is JSON, the rest is one text.
        fields: names under which a JSON object has them.

    Raises:
        ValueError: not UTF-8, not JSON, or no texts.
    """
    if len(data) > MAX_TEXT:
        raise ValueError(f"it has more than {MAX_TEXT:,} bytes")
    text = data.decode("utf-8-sig")
    try:
        found = texts_of(json.loads(text) if kind.endswith("json") else text, fields)
        for each in found:
            each.encode()  # JSON can write half of a surrogate pair, UTF-8 cannot
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return found
