"""Types of settings that many plugins share: sizes in bytes, sources of weights. No torch here."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def parse_bytes(value: object) -> object:
    """``"1 GB"``, ``"300MB"``, ``"1.5GiB"`` or a whole number -> bytes. kB is 1000, KiB is 1024.

    Raises:
        ValueError: the text is not a size, or not a whole number of bytes.
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)\s*", value)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError("expected a size such as `300MB`, `1 GB` (10^9) or `1GiB` (2^30)")
    size = Fraction(match[1]) * _UNITS[match[2].upper()]
    if size.denominator != 1:
        raise ValueError(f"`{value.strip()}` is not a whole number of bytes")
    return int(size)


Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(ge=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(([kKmMgGtT][iI]?)?[bB])?\s*$"},
            ]
        }
    ),
]
"""A number of bytes; a config may write it with a unit."""

_FROM = re.compile(r"scratch|(hf|open_clip|file|artifact|package):\S.*")


Url = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]{0,30}://[^/].*$", max_length=1000)]
"""The address of a file or a folder in a store of fsspec: ``s3://bucket/folder``."""

Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$", max_length=8)]
"""Where PyTorch computes: ``auto`` is a GPU where there is one, else the CPU."""


def _check_source(value: object) -> object:
    if isinstance(value, str) and not _FROM.fullmatch(value):
        raise ValueError(
            "expected `hf:<repository>`, `open_clip:<arch>/<tag>`, `file:<path>`,"
            " `artifact:<folder>`, `package:<distribution>/<path>` or `scratch`"
        )
    return value


SourceName = Annotated[
    str,
    BeforeValidator(_check_source),
    WithJsonSchema({"type": "string", "pattern": f"^({_FROM.pattern})$"}),
]
"""Where weights (or a vocabulary) come from, as a config writes it."""
