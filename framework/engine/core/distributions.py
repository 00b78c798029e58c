"""Names and versions of installed packages, which every command asks for.

``importlib.metadata`` reads them with a parser of e-mails; here they are found quickly.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint

_FIELD = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_HEAD_ENDS = re.compile(r"^\r?$", re.MULTILINE)


@dataclass(frozen=True)
class Distribution:
    """An installed package: its name and version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


_UNKNOWN = Distribution("unknown package", "?")


def canonical(distribution: str) -> str:
    """A distribution's name as packaging compares them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def distribution_of(point: EntryPoint) -> Distribution:
    """The package that an entry point came from."""
    return _UNKNOWN if point.dist is None else described(point.dist)


def described(distribution: importlib.metadata.Distribution) -> Distribution:
    """Name and version of an installed package."""
    try:
        fields = _fields(distribution)
        if "Name" in fields and "Version" in fields:
            return Distribution(fields["Name"], fields["Version"])
        return Distribution(distribution.name or "?", distribution.version or "?")
    except Exception:  # its METADATA is missing or damaged
        return _UNKNOWN


def _fields(distribution: importlib.metadata.Distribution) -> dict[str, str]:
    """Name and version as they stand in the head of METADATA, where one is there."""
    read = getattr(distribution, "read_text", lambda name: None)
    text = read("METADATA") or read("PKG-INFO") or ""
    end = _HEAD_ENDS.search(text)
    return dict(reversed(_FIELD.findall(text[: end.start()] if end else text)))
