"""The web at its worst, on loopback: every failure has its kind, and the counts tell of each."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.data.download.outcome import Cause
from engine.data.verify import verify

from .conftest import QUICK, Lists, Request, Server, picture


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **more)
    return buffer.getvalue()


async def endless(request: Request) -> None:
    request.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        request.writer.write(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        await request.writer.drain()


async def drip(request: Request) -> None:
    request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        request.writer.write(b"\xff")
        await request.writer.drain()
        await asyncio.sleep(0.05)


async def silent(request: Request) -> None:
    await asyncio.sleep(3600)


async def reset(request: Request) -> None:
    request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    await request.writer.drain()
    request.writer.transport.abort()


async def nonsense(request: Request) -> None:
    request.writer.write(b"\x00\x01 what is this\r\n\r\n")
    await request.writer.drain()
    request.writer.close()


def page(body: bytes, **headers: str) -> object:
    async def answer(request: Request) -> None:
        await request.send(body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


def to(target: str) -> object:
    async def answer(request: Request) -> None:
        await request.send(b"", "302 Found", {"Location": target})

    return answer


def test_every_failure_has_its_kind(server: Server, lists: Lists) -> None:
    whole = picture(1)
    packed = gzip.compress(whole)
    cases: dict[str, tuple[object, str]] = {
        "missing": (None, "HTTP 404"),
        "empty": (b"", Cause.NOT_IMAGE),
        "html": (b"<!DOCTYPE html><html>sold out</html>", Cause.NOT_IMAGE),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', Cause.NOT_IMAGE),
        "text": (b"hello", Cause.NOT_IMAGE),
        "cut": (whole[: len(whole) // 2], Cause.BROKEN),
        "short": (page(whole[:100], Content_Length="5000", Connection="close"), Cause.TIMEOUT),
        "wide": (bomb(60_000, 60_000), Cause.PIXELS),
        "large": (bomb(9_000, 9_000), Cause.PIXELS),
        "thin": (saved(Image.new("RGB", (70_000, 66)), "PNG"), Cause.BROKEN),
        "gzip": (page(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), Cause.ENCODING),
        "cutgzip": (page(packed[:-20], Content_Encoding="gzip"), Cause.ENCODING),
        "notgzip": (page(whole, Content_Encoding="gzip"), Cause.ENCODING),
        "brotli": (page(whole, Content_Encoding="br"), Cause.ENCODING),
        "endless": (endless, Cause.TOO_LARGE),
        "announced": (page(b"", Content_Length="999999999999"), Cause.TOO_LARGE),
        "drip": (drip, Cause.SLOW),
        "silent": (silent, Cause.TIMEOUT),
        "reset": (reset, Cause.BROKE),
        "nonsense": (nonsense, Cause.PROTOCOL),
        "noai": (page(whole, X_Robots_Tag="noindex, NoAI"), Cause.ROBOTS),
        "loop": (to("loop"), Cause.REDIRECTS),
        "file": (to("file:///etc/passwd"), Cause.BAD_URL),
        "badport": (to("http://127.0.0.1:99999/"), Cause.BAD_URL),
        "forbidden": (lambda r: r.send(b"", "403 Forbidden"), "HTTP 403"),
        "broken": (lambda r: r.send(b"", "500 Oh"), "HTTP 500"),
    }
    server.answers = {key: value for key, (value, _) in cases.items() if value is not None}
    server.answers["good"] = whole
    urls = {key: server.url(key) for key in cases}
    odd = {
        "scheme": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/x", "nothing": "", "host": "http://",
        "port": "http://127.0.0.1:0/x", "brackets": "http://[::1", "words": "not a url",
        "script": "javascript:alert(1)",
    }  # fmt: skip
    lists.write({"good": server.url("good"), **urls, **odd, "refused": "http://127.0.0.1:1/x"})
    settings = replace(QUICK, max_bytes=1_000_000, timeout=1.5, max_redirects=3)
    report = lists.run(settings).report
    found = {id_: kind for id_, (kind, _) in lists.failures().items()}
    wanted = {key: kind for key, (_, kind) in cases.items()}
    wanted |= dict.fromkeys(odd, Cause.BAD_URL) | {"refused": Cause.CONNECT}
    assert found == wanted
    assert report["images"] == {
        "listed": len(wanted) + 1, "downloaded": 1, "failed": len(wanted), "left": 0
    }  # fmt: skip
    assert sum(report["failed_by_reason"].values()) == len(wanted)
    assert sum(sum(k.values()) for k in report["failed_by_host"].values()) == len(wanted)
    assert report["queries"]["lost_with_their_image"] == len(wanted)
    assert (
        lists.out / "metadata.json"
    ).read_text() == '{"image": "good", "queries": ["запрос good"]}\n'
    # What may pass was tried twice, what will not once.
    assert {k: server.seen[k] for k in ("broken", "silent", "drip", "reset")} == dict.fromkeys(
        ("broken", "silent", "drip", "reset"), 2
    )
    assert server.seen["missing"] == server.seen["forbidden"] == server.seen["html"] == 1
    assert server.seen["loop"] == 4
    assert verify(lists.out).whole


def test_odd_pictures_become_jpegs(server: Server, lists: Lists) -> None:
    red = Image.new("RGB", (100, 80), (200, 30, 40))
    frames = [red, Image.new("RGB", (100, 80), "blue")]
    deep = Image.fromarray(np.full((80, 100), 51400, dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    server.answers = {
        "gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "cmyk": saved(red.convert("CMYK"), "JPEG"),
        "deep": saved(deep, "PNG"),
        "clear": saved(Image.new("RGBA", (100, 80), (0, 0, 0, 0)), "PNG"),
        "webp": saved(red, "WEBP"),
        "turned": saved(red, "JPEG", exif=exif),
        "gzip": page(gzip.compress(saved(red, "PNG")), Content_Encoding="gzip"),  # type: ignore[dict-item]
        "deflate": page(zlib.compress(saved(red, "PNG")), Content_Encoding="deflate"),  # type: ignore[dict-item]
        "bare": page(zlib.compress(saved(red, "PNG"), wbits=-15), Content_Encoding="deflate"),  # type: ignore[dict-item]
    }
    lists.write({key: server.url(key) for key in server.answers})
    assert lists.run().report["images"]["failed"] == 0
    colours = {}
    for key in server.answers:
        with Image.open(lists.out / "images" / f"{key}.jpg") as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert image.size == ((64, 80) if key == "turned" else (80, 64))
            colours[key] = image.getpixel((32, 32))
    for key, colour in colours.items():
        wanted = {"deep": (200, 200, 200), "clear": (255, 255, 255)}.get(key, (200, 30, 40))
        assert np.abs(np.subtract(colour, wanted)).max() < 15, key


@pytest.mark.parametrize(
    "where",
    ["http://127.0.0.1:{port}/good", "http://localhost:{port}/good", "http://[::1]:{port}/good",
     "http://[::ffff:127.0.0.1]:{port}/good", "http://0.0.0.0:{port}/good",
     "http://169.254.169.254/latest", "http://10.0.0.1/", "http://[fe80::1]/",
     "http://[64:ff9b::7f00:1]/"],
)  # fmt: skip
def test_private_addresses_are_refused(server: Server, lists: Lists, where: str) -> None:
    """By number, by name, by mapping: the address that would be connected to is what counts."""
    server.answers["good"] = picture()
    lists.write({1: where.format(port=server.port)})
    lists.run(replace(QUICK, allow_private=False, retries=0))
    assert lists.failures()["1"][0] == Cause.PRIVATE
    assert not server.seen


@pytest.mark.parametrize("where", ["http://2130706433/", "http://127.1/", "http://0x7f.1/"])
def test_other_ways_to_write_loopback(lists: Lists, where: str) -> None:
    lists.write({1: where})
    lists.run(replace(QUICK, allow_private=False, retries=0))
    assert lists.failures()["1"][0] in (Cause.PRIVATE, Cause.BAD_URL, Cause.NAME)


def test_a_public_server_that_redirects_inside(
    server: Server, lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hop is allowed by a stand-in for the check; the second is evaluated as it is."""
    from engine.data.download import addresses

    evaluate = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda a: a == "127.0.0.1" or evaluate(a))
    server.answers |= {
        "name": to(server.url("good", "localhost2.localdomain")),
        "number": to("http://169.254.169.254/latest/meta-data"),
        "ten": to("//10.1.2.3/x"),
        "good": picture(),
    }
    lists.write({key: server.url(key) for key in ("name", "number", "ten", "good")})
    lists.run(replace(QUICK, allow_private=False, retries=0))
    found = {id_: kind for id_, (kind, _) in lists.failures().items()}
    assert found == {"name": Cause.NAME, "number": Cause.PRIVATE, "ten": Cause.PRIVATE}
    assert server.seen["good"] == 1


def test_redirects_are_followed(server: Server, lists: Lists) -> None:
    server.answers |= {"a": to("b"), "b": to("/deep/c?x=1#part"), "deep/c?x=1": picture()}
    lists.write({1: server.url("a")})
    assert lists.run().report["images"]["downloaded"] == 1


def test_robots_tag_can_be_ignored(server: Server, lists: Lists) -> None:
    server.answers["x"] = page(picture(), X_Robots_Tag="noai")  # type: ignore[assignment]
    lists.write({1: server.url("x")})
    assert lists.run(replace(QUICK, robots_tag=False)).report["images"]["downloaded"] == 1


def test_the_user_agent(server: Server, lists: Lists) -> None:
    server.answers["x"] = picture()
    lists.write({1: server.url("x")})
    lists.run(replace(QUICK, user_agent="mine/1.0"))
    assert server.agents == {"mine/1.0"}


def test_ids_that_do_not_make_file_names(server: Server, lists: Lists, tmp_path: Path) -> None:
    server.answers["x"] = picture()
    long = "я" * 150
    names = {long: server.url("x"), "a b.c": server.url("x"), "%2E": server.url("x")}
    lists.write(names)
    lists.run()
    assert lists.failures()[long][0] == Cause.LONG_ID
    assert {p.name for p in (lists.out / "images").iterdir()} == {"a b.c.jpg", "%2E.jpg"}
    lists.out = tmp_path / "packed"
    report = lists.run(replace(QUICK, format="webdataset")).report
    assert report["images"]["downloaded"] == 3
    assert verify(lists.out).whole
