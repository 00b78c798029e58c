"""A request's bytes become checked values and picture files; everything is bounded first."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Sequence
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from engine.core.strict_json import parse_json
from engine.serve.bodies import mistake_of
from engine.serve.faults import Fault
from engine.serve.fetching import Fetching
from engine.serve.settings import ServeSettings

Body = TypeVar("Body", bound=BaseModel)
_WORD = r"[\w.+-]{1,60}"
_URI = re.compile(
    rf"data:(?:{_WORD}/{_WORD})?(?:;{_WORD}={_WORD}){{0,8}};base64,", re.ASCII | re.IGNORECASE
)
_AT_ONCE = 1 << 16
"""Bytes of a body that is parsed in the event loop; a larger one by a thread."""


def is_data_uri(text: str) -> bool:
    """Whether a text is a picture in a data URI."""
    return text[:11].lower().startswith("data:image/")


async def read_body(request: web.Request, kind: type[Body], settings: ServeSettings) -> Body:
    """Read and check a request's JSON.

    Raises:
        Fault: 415, 413, 408 or 400; says what is wrong.
    """
    if request.content_type != "application/json":
        raise Fault(415, "the Content-Type must be application/json", "media_type")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Fault(415, "a compressed body is not read", "media_type")
    data = bytearray()
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for piece in request.content.iter_any():
                data += piece
                if len(data) > settings.max_body:
                    raise Fault(413, f"the body has more than {settings.max_body:,} bytes",
                                "too_large")  # fmt: skip
    except TimeoutError:
        raise Fault(408, f"the body did not arrive within {settings.body_seconds:g} seconds",
                    "slow") from None  # fmt: skip
    if len(data) <= _AT_ONCE:
        return _parse(bytes(data), kind)
    return await asyncio.get_running_loop().run_in_executor(None, _parse, bytes(data), kind)


def _parse(data: bytes, kind: type[Body]) -> Body:
    try:
        value = parse_json(data)
    except UnicodeDecodeError:
        raise Fault(400, "the body is not UTF-8", "bad_json") from None
    except ValueError as error:
        raise Fault(400, f"the body is not JSON: {str(error)[:200]}", "bad_json") from None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        message, place = mistake_of(list(found))
        raise Fault(400, message[:300], "invalid", param=place[:100]) from None


def check_texts(texts: Sequence[str], settings: ServeSettings, param: str) -> None:
    """Refuse too many texts, too long ones, and empty ones.

    Raises:
        Fault: 400; says which.
    """
    if len(texts) > settings.max_texts:
        raise Fault(400, f"{len(texts):,} texts are more than the {settings.max_texts:,} of a"
                    " request", "too_many", param=param)  # fmt: skip
    for place, text in enumerate(texts):
        if len(text) > settings.max_characters:
            most = settings.max_characters
            raise Fault(400, f"text {place} has {len(text):,} characters, and {most:,} are allowed",
                        "too_long", param=param)  # fmt: skip


async def picture_files(
    pictures: Sequence[str], settings: ServeSettings, fetching: Fetching | None, param: str
) -> list[bytes | Fault]:
    """The files of pictures given as data URIs, or as URLs where these are fetched.

    Returns:
        The bytes of each, or why it cannot be had.

    Raises:
        Fault: 400, there are too many.
    """
    if len(pictures) > settings.max_images:
        raise Fault(400, f"{len(pictures):,} pictures are more than the {settings.max_images:,} of"
                    " a request", "too_many", param=param)  # fmt: skip
    found: list[bytes | Fault] = []
    for place, text in enumerate(pictures):
        try:
            found.append(await _file(text, place, settings, fetching, param))
        except Fault as fault:
            found.append(fault)
    return found


async def _file(
    text: str, place: int, settings: ServeSettings, fetching: Fetching | None, param: str
) -> bytes:
    if text[:5].lower() == "data:":
        return _decoded(text, place, settings, param)
    if text[:8].lower().startswith(("http://", "https://")) and fetching is not None:
        return await fetching.get(text, f"picture {place}", param)
    also = "" if fetching is None else " or a URL"
    raise Fault(400, f"picture {place} is not a data URI (data:image/jpeg;base64,..){also}",
                "bad_image", param=param)  # fmt: skip


def _decoded(text: str, place: int, settings: ServeSettings, param: str) -> bytes:
    head = _URI.match(text[:1000])
    if head is None:
        raise Fault(400, f"picture {place}: a data URI in base64 is expected"
                    " (data:image/jpeg;base64,...)", "bad_image", param=param)  # fmt: skip
    if len(text) - head.end() > settings.max_image_bytes * 4 // 3 + 4:
        raise Fault(400, f"picture {place} has more than {settings.max_image_bytes:,} bytes",
                    "too_large", param=param)  # fmt: skip
    try:
        return base64.b64decode(text[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Fault(400, f"picture {place}: its base64 is damaged", "bad_image",
                    param=param) from None  # fmt: skip
