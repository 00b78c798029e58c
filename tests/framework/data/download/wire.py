"""Answers written byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import strategies as st

from .conftest import Request, picture

PICTURE = picture(1)


def raw(*pieces: bytes, close: bool = False) -> Callable[[Request], Awaitable[None]]:
    """An answer of exactly these bytes, in pieces."""

    async def answer(request: Request) -> None:
        for piece in pieces:
            request.writer.write(piece)
            await request.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0.005)
        if close:
            request.writer.close()

    return answer


def answer(*fields: bytes, body: bytes = PICTURE, length: bool = True) -> bytes:
    lines = [b"HTTP/1.1 200 OK", *fields]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


TEXT = st.text() | st.binary().map(lambda b: b.decode("utf-8", "surrogateescape"))
