"""What headers of an answer say: rules for robots, packings, how long to wait."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FORBIDDING = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
_WITH_VALUE = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)
"""Rules that are written ``rule: value``; any other word before a colon names a robot."""

_OWN_NAME = "engine-download"
_ROBOT = re.compile(r"\s*([^\s:,;]+)\s*:\s*(.*)", re.DOTALL)

GZIP, DEFLATE = 1, 2
_PACKINGS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": DEFLATE}
_REFUSED = frozenset({"br", "zstd", "dcb", "dcz"})
"""Packings that browsers undo and this program does not; it never asks for one."""

_MAX_PACKINGS = 4
_LONGEST_WAIT = 86_400.0
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")  # servers write fractions, too


def robot_names(user_agent: str) -> frozenset[str]:
    """The names by which ``X-Robots-Tag`` may address this program, in lower case."""
    product = re.split(r"[/\s(;]", user_agent.strip(), maxsplit=1)[0].lower()
    return frozenset({"*", _OWN_NAME, product} - {""})


def forbids(values: Iterable[str], names: frozenset[str]) -> bool:
    """Whether ``X-Robots-Tag`` forbids the use of a picture for search or training to this robot.

    A value is ``[robot:] rule, rule``: the rules after a robot's name are for that robot alone, up
    to the next name or the end of the header; rules without a name before them are for everyone.

    Args:
        values: of each header of that name.
        names: of this robot, as :func:`robot_names` gives them.

    Source: https://developers.google.com/search/docs/crawling-indexing/robots-meta-tag; the rules
    ``noai`` and ``noimageai`` are DeviantArt's, which img2dataset respects too.
    """
    for value in values:
        for_us = True
        for part in re.split("[,;]", value):
            match = _ROBOT.fullmatch(part)
            rule = part
            if match is not None and match[1].lower() not in _WITH_VALUE:
                for_us = match[1].lower().partition("/")[0] in names
                rule = match[2]
            if for_us and rule.strip().lower() in _FORBIDDING:
                return True
    return False


def packing_of(values: Iterable[str]) -> int | str:
    """How a body is packed, by the values of its ``Content-Encoding`` headers.

    Values that no one knows are passed over, as browsers do: servers write ``utf-8``, ``none`` or
    ``aws-chunked`` there, and send the body as it is.

    Returns:
        The packings as digits of base 4, the one that is to be undone first in the lowest place
        (0 as it is, 1 gzip, 2 deflate); or the value that cannot be undone.
    """
    found: list[int] = []
    for value in values:
        for name in value.split(","):
            name = name.strip().lower()
            if name in _REFUSED:
                return name
            if name in _PACKINGS:
                found.append(_PACKINGS[name])
    if len(found) > _MAX_PACKINGS:
        return f"{len(found)} packings, one in another"
    return sum(packing << 2 * place for place, packing in enumerate(reversed(found)))


def seconds_to_wait(text: str) -> float:
    """Retry-After (RFC 9110, 10.2.3): seconds or a date.

    Returns:
        Seconds from now, 0 for a date that is past. What cannot be read and what is over a day says
        nothing that can be acted on, and counts as 0 too.
    """
    text = text.strip()[:100]
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
            if when.tzinfo is None:
                when = when.replace(tzinfo=UTC)
            seconds = (when - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError, IndexError):
            return 0.0
    return seconds if 0 < seconds <= _LONGEST_WAIT else 0.0
