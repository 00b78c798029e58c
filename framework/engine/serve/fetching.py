"""Pictures by URL, where that is enabled: by the downloader, with its checks of every address."""

from __future__ import annotations

import asyncio

from yarl import URL

from engine.data.download.fetch import Body, Fetcher, Redirect
from engine.data.download.settings import DownloadSettings
from engine.data.download.urls import parse
from engine.serve.faults import Fault

_REDIRECTS = 5


class Fetching:
    """Fetches pictures from public addresses.

    Args:
        max_bytes: of a picture.
        seconds: for each request.
        at_once: requests at the same time.
    """

    def __init__(self, max_bytes: int, seconds: float, at_once: int = 8) -> None:
        settings = DownloadSettings(max_bytes=max_bytes)
        self._fetcher, self._seconds = Fetcher(settings), seconds
        self._turns = asyncio.Semaphore(at_once)

    async def start(self) -> None:
        """Make the pool of connections."""
        await self._fetcher.__aenter__()

    async def stop(self) -> None:
        """Close it."""
        await self._fetcher.__aexit__()

    async def get(self, text: str, what: str, param: str) -> bytes:
        """The bytes behind a URL.

        Raises:
            Fault: 400; says why it was not fetched.
        """
        url = parse(text)
        async with self._turns:
            for _ in range(_REDIRECTS + 1):
                if not isinstance(url, URL):
                    raise Fault(400, f"{what}: its URL cannot be used", "bad_url", param=param)
                found = await self._fetcher.get(url, self._seconds)
                if isinstance(found, Redirect):
                    url = found.url
                    continue
                if isinstance(found, Body) and not found.packing:
                    return found.data
                why = "it is compressed" if isinstance(found, Body) else found.kind
                raise Fault(400, f"{what} cannot be fetched: {why}", "bad_url", param=param)
        raise Fault(400, f"{what}: too many redirects", "bad_url", param=param)
