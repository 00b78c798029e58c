"""A server on loopback that answers as a test says, and lists to download from it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.data.download.run import DownloadOutcome, download
from engine.data.download.settings import DownloadSettings

Answer = Callable[["Request"], Awaitable[None]]


class Request:
    """One request, and the means to answer it."""

    def __init__(self, path: str, head: str, writer: asyncio.StreamWriter) -> None:
        self.path, self.head, self.writer = path, head, writer

    async def send(
        self,
        body: bytes = b"",
        status: str = "200 OK",
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """A whole answer; ``length`` may lie."""
        fields = {"Content-Length": str(len(body) if length is None else length), **(headers or {})}
        head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        self.writer.write(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)
        await self.writer.drain()


class Server:
    """Answers by path; counts requests, and how many are under way at once."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | bytes] = {}
        self.seen: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.now = self.maximum = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._started = threading.Event()
        self._thread.start()
        assert self._started.wait(10)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def _serve(self) -> None:
        async def run() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512)
            self.port = server.sockets[0].getsockname()[1]
            self._end = asyncio.Event()
            self._started.set()
            await self._end.wait()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._loop.run_until_complete(run())
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                path = head.split(" ", 2)[1].lstrip("/")
                self.seen[path] += 1
                for line in head.split("\r\n"):
                    if line.lower().startswith("user-agent:"):
                        self.agents.add(line.split(":", 1)[1].strip())
                self.now += 1
                self.maximum = max(self.maximum, self.now)
                try:
                    await self._answer(Request(path, head, writer))
                finally:
                    self.now -= 1
                if writer.is_closing():
                    break
        writer.close()

    async def _answer(self, request: Request) -> None:
        answer = self.answers.get(request.path)
        if answer is None:
            await request.send(b"gone", "404 Not Found")
        elif isinstance(answer, bytes):
            await request.send(answer)
        else:
            await answer(request)

    def stop(self) -> None:
        """End the thread; no request survives."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that ends with the test."""
    found = Server()
    yield found
    found.stop()


def picture(
    seed: int = 0, size: tuple[int, int] = (40, 30), kind: str = "JPEG", **more: Any
) -> bytes:
    """A small picture of noise, another one for each seed."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind, **more)
    return buffer.getvalue()


QUICK = DownloadSettings(
    allow_private=True, workers=1, retries=1, pause=0.01, timeout=5, slow_after=0.3, deadline=20,
    size=64,
)  # fmt: skip


class Lists:
    """Two lists in a folder, and downloads from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata, self.images = folder / "metadata.json", folder / "images.json"
        self.out = folder / "out"

    def write(self, urls: Mapping[Any, str]) -> None:
        """One query an image."""
        rows = [(id_, url) for id_, url in urls.items()]
        self.metadata.write_text(
            "".join(
                json.dumps({"image": id_, "queries": [f"запрос {id_}"]}) + "\n" for id_, _ in rows
            )
        )
        self.images.write_text(
            "".join(json.dumps({"image": id_, "url": url}) + "\n" for id_, url in rows)
        )

    def run(self, settings: DownloadSettings = QUICK, **more: Any) -> DownloadOutcome:
        """Download."""
        return download(self.metadata, self.images, self.out, settings, **more)

    def failures(self) -> dict[str, tuple[str, str]]:
        """Reason and detail by id."""
        rows = map(json.loads, (self.out / "failed.json").read_text().splitlines())
        return {str(row["image"]): (row["reason"], row["detail"]) for row in rows}

    def content(self) -> dict[str, bytes]:
        """Every file of the result by its path; not the state, which keeps its own history."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in sorted(self.out.rglob("*"))
            if path.is_file() and path.name != "lock" and not path.name.startswith("state.sqlite")
        }


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    """Lists and an output folder of this test."""
    return Lists(tmp_path)
