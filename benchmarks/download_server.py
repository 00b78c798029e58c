"""The web in small, for benchmarks/download.py: pictures of realistic sizes, and what goes wrong.

Run as a process of its own: `python download_server.py SECONDS [CERTIFICATE]` prints its port on
one line and serves on every loopback address until it is killed, its stdin ends, or the time is up.
"""

from __future__ import annotations

import asyncio
import io
import math
import random
import ssl
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

DISTINCT = 240
HOSTS = 40
GRAIN = 3.2

FAILURES = (("missing", 0.08), ("page", 0.02), ("cut", 0.015), ("refused", 0.015), ("hang", 0.003))
"""What goes wrong, and how often: about what large crawls report of links a few years old."""


def fate(number: int) -> str:
    """What becomes of an image, always the same."""
    chance = random.Random(number * 7919 + 13).random()
    for name, share in FAILURES:
        if chance < share:
            return name
        chance -= share
    return "good"


def urls(count: int, port: int) -> Iterator[str]:
    """URLs over many hosts, which are all this machine."""
    for number in range(count):
        to = 1 if fate(number) == "refused" else port  # nobody listens on port 1
        yield f"http://127.0.0.{1 + number % HOSTS}:{to}/{fate(number)}/{number}.jpg"


def sizes(random_: random.Random) -> tuple[int, int]:
    """Log-normal widths with median 900, from 300 to 2000, of the usual shapes of photographs."""
    width = int(min(2000, max(300, math.exp(random_.gauss(math.log(900), 0.5)))))
    shape = random_.choice((0.56, 0.67, 0.75, 0.75, 1.0, 1.33, 1.5))
    height = int(min(2000, max(300, width * shape)))
    return width, height


def photograph(number: int) -> bytes:
    """Soft shapes, edges and grain: 1.3 bits a pixel as JPEG, as photographs of the web have."""
    random_ = random.Random(number)
    generator = np.random.default_rng(number)
    width, height = sizes(random_)
    coarse = generator.integers(0, 255, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = random_.randrange(width), random_.randrange(height)
        side = random_.randrange(10, 160)
        colour = tuple(random_.randrange(256) for _ in range(3))
        random_.choice((draw.ellipse, draw.rectangle))((x, y, x + side, y + side), fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(1.0))
    grain = generator.normal(0, GRAIN, (height, width, 1))
    image = Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))
    return _saved(image, "WEBP" if number % 16 == 3 else "JPEG", random_.randrange(75, 93))


def graphic(number: int) -> bytes:
    """Flat areas and lines, as PNGs of the web mostly are."""
    random_ = random.Random(number)
    width, height = sizes(random_)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(120):
        x, y = random_.randrange(width), random_.randrange(height)
        colour = tuple(random_.randrange(256) for _ in range(3))
        draw.line((x, y, random_.randrange(width), random_.randrange(height)), colour, 3)
        draw.rectangle((x, y, x + random_.randrange(120), y + 20), fill=colour)
    return _saved(image, "PNG", 0)


def _saved(image: Image.Image, kind: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": quality} if quality else {}))
    return buffer.getvalue()


def pictures(count: int = DISTINCT) -> list[bytes]:
    """Distinct files: a twelfth PNG, a sixteenth WebP, the rest JPEG."""
    return [graphic(i) if i % 12 == 5 else photograph(i) for i in range(count)]


class Web(asyncio.Protocol):
    """HTTP/1.1, as little of it as a server needs."""

    files: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to."""
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            _, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
            what, name = path.decode().strip("/").split("/")
            self.answer(what, int(name.split(".")[0]))

    def answer(self, what: str, number: int) -> None:
        """One answer, or none at all."""
        file = self.files[number % len(self.files)]
        if what == "good":
            self.send(b"200 OK", b"image/jpeg", file)
        elif what == "missing":
            self.send(b"404 Not Found", b"text/html", b"<html>not found</html>")
        elif what == "page":
            self.send(b"200 OK", b"text/html", b"<!DOCTYPE html><html>sold out</html>" * 50)
        elif what == "cut":
            self.send(b"200 OK", b"image/jpeg", file[: len(file) // 2])

    def send(self, status: bytes, kind: bytes, body: bytes) -> None:
        """Head and body."""
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, kind, len(body)))
        self.transport.write(body)


async def serve(seconds: float, certificate: str | None) -> None:
    """Serve until the time is up or stdin ends."""
    Web.files = pictures()
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    server = await loop.create_server(Web, "0.0.0.0", 0, backlog=1024, ssl=context)
    mean = sum(map(len, Web.files)) / len(Web.files)
    print(server.sockets[0].getsockname()[1], round(mean), flush=True)
    ended = loop.run_in_executor(None, sys.stdin.read)
    await asyncio.wait([asyncio.ensure_future(ended)], timeout=seconds)


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
