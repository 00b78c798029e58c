"""Whatever is sent, it is refused in words, at a bounded price, and nothing of it is logged."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.evaluate.predictor import Predictor

Talk = Callable[..., None]
Uri = Callable[..., str]
JSON = {"Content-Type": "application/json"}


def bomb() -> str:
    """A PNG of 50,000 x 50,000 pixels in some kilobytes."""
    image = Image.new("1", (8, 8))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = (50_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return "data:image/png;base64," + base64.b64encode(bytes(data)).decode()


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("embeddings", b"", 400, "not JSON"),
        ("embeddings", b"{", 400, "not JSON"),
        ("embeddings", b'{"input": "\xff"}', 400, "not UTF-8"),
        ("embeddings", b'{"input": "a", "input": "b"}', 400, "stands twice"),
        ("embeddings", b'{"input": "\\ud800"}', 400, "surrogate"),
        ("embeddings", b"[" * 100_000, 400, "nested too deeply"),
        ("embeddings", b'{"input": 5}', 400, "input"),
        ("embeddings", b'{"input": [1, 2]}', 400, "input"),
        ("embeddings", b'{"input": []}', 400, "input"),
        ("embeddings", b'{"input": ""}', 400, "input"),
        ("embeddings", b'{"input": "a", "dimensions": 0}', 400, "dimensions"),
        ("embeddings", b'{"input": "a", "dimensions": 4}', 400, "3 numbers"),
        ("embeddings", b'{"input": "a", "dimensions": NaN}', 400, "not a number"),
        ("embeddings", b'{"input": "a", "more": 1}', 400, "more"),
        ("embeddings", json.dumps({"input": ["a"] * 300}).encode(), 400, "300"),
        ("embeddings", json.dumps({"input": "a" * 9_000}).encode(), 400, "9,000 characters"),
        ("embeddings", b'{"input": "' + b"a" * 3_000_000 + b'"}', 413, "more than"),
        ("embeddings", b'{"input": "data:image/png;base64,%%"}', 400, "base64 is damaged"),
        ("embeddings", b'{"input": "data:image/png,abc"}', 400, "in base64 is expected"),
        ("embeddings", json.dumps({"input": bomb()}).encode(), 400, "exceeds limit"),
        ("classify", b'{"images": ["x"], "classes": []}', 400, "classes"),
        ("classify", b'{"images": ["x"], "classes": ["a", "a"]}', 400, "stands twice"),
        ("classify", b'{"images": [], "classes": ["a"]}', 400, "images"),
        ("classify", b'{"images": ["x"], "classes": ["a"], "top": 0}', 400, "top"),
        ("classify", json.dumps({"images": ["x"] * 33, "classes": ["a"]}).encode(), 400, "33"),
        ("classify", json.dumps({"images": ["x"], "classes": [*map(str, range(1001))]}).encode(),
         400, "1,001 classes"),
        ("classify", b'{"images": ["x"], "classes": ["a"], "probabilities": "sigmoid"}', 400,
         "no logit_bias"),
        ("search", b'{"texts": ["a"]}', 404, "no index"),
    ],
)  # fmt: skip
def test_bad_requests(talk: Talk, path: str, body: bytes, status: int, words: str) -> None:
    async def chat(client: Any) -> None:
        response = await client.post(f"/v1/{path}", data=body, headers=JSON)
        answer = await response.json()
        assert (response.status, words in answer["error"]["message"]) == (status, True), answer
        good = await client.post("/v1/embeddings", json={"input": "a"})
        assert good.status == 200

    talk(chat, max_body=1 << 20)


def test_kinds_of_bodies(talk: Talk) -> None:
    async def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 100_000

    async def chat(client: Any) -> None:
        text = await client.post(
            "/v1/embeddings", data=b"{}", headers={"Content-Type": "text/plain"}
        )
        assert text.status == 415
        packed = await client.post(
            "/v1/embeddings", data=b"{}", headers={**JSON, "Content-Encoding": "gzip"}
        )
        assert packed.status == 415
        chunked = await client.post("/v1/embeddings", data=pieces(), headers=JSON)
        assert chunked.status == 413
        assert (await client.get("/v1/embeddings")).status == 405
        assert (await client.get("/none")).status == 404

    talk(chat, max_body=1 << 20)


def test_keys(talk: Talk) -> None:
    keys = ("a-key-that-is-long-enough", "another-long-enough-key")

    async def chat(client: Any) -> None:
        for header in (None, "Bearer wrong", "Basic " + keys[0], keys[0], "Bearer", "Bearer \xff"):
            sent = {} if header is None else {"Authorization": header}
            response = await client.post("/v1/embeddings", json={"input": "a"}, headers=sent)
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        for key in keys:
            sent = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/v1/models", headers=sent)).status == 200
        for path in ("/health", "/ready", "/", "/openapi.json"):
            assert (await client.get(path)).status == 200
        assert (await client.get("/metrics")).status == 401

    talk(chat, api_keys=keys)


def test_pages_of_others_may_not_call(talk: Talk) -> None:
    async def chat(client: Any) -> None:
        own = f"http://127.0.0.1:{client.port}"
        for origin, status in ((own, 200), ("https://mine.example", 200),
                               ("https://evil.example", 403), ("null", 403)):  # fmt: skip
            response = await client.get("/v1/models", headers={"Origin": origin})
            assert response.status == status
            allowed = response.headers.get("Access-Control-Allow-Origin")
            assert allowed == ("https://mine.example" if "mine" in origin else None)
        for host, status in (("localhost", 200), ("[::1]:80", 200), ("evil.example", 421)):
            response = await client.get("/v1/models", headers={"Host": host})
            assert response.status == status
        asked = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}
        response = await client.options("/v1/embeddings", headers=asked)
        assert (response.status, "POST" in response.headers["Access-Control-Allow-Methods"]) == (
            204, True,
        )  # fmt: skip

    talk(chat, origins=("https://mine.example",))


def test_urls_are_not_fetched_unless_asked_and_never_from_here(talk: Talk, uri: Uri) -> None:
    called: list[bytes] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.readline())
        writer.close()

    async def chat(client: Any) -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        images = [f"http://127.0.0.1:{port}/a.png", f"http://localhost:{port}/a.png",
                  f"http://[::1]:{port}/a", "file:///etc/passwd"]  # fmt: skip
        body = {"images": images, "classes": ["a", "b"]}
        answer = await (await client.post("/v1/classify", json=body)).json()
        assert all(row["error"] for row in answer["data"])
        assert not called
        server.close()

    talk(chat)
    talk(chat, fetch_urls=True)


def test_too_much_is_refused_and_the_rest_is_answered(
    talk: Talk, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, real = threading.Event(), predictor.encode_texts

    def slow(texts: Sequence[str]) -> Any:
        if list(texts) != ["a"]:  # what the service computes when it starts
            go.wait(20)
        return real(texts)

    monkeypatch.setattr(predictor, "encode_texts", slow)

    async def chat(client: Any) -> None:
        tasks = [
            asyncio.ensure_future(client.post("/v1/embeddings", json={"input": [f"{i}", f"x{i}"]}))
            for i in range(4)
        ]
        await asyncio.sleep(0.5)
        refused = await client.post("/v1/embeddings", json={"input": "y"})
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) >= 1
        never = await client.post("/v1/embeddings", json={"input": ["y"] * 9})
        assert never.status == 413
        go.set()
        assert [(await task).status for task in tasks] == [200] * 4
        assert (await client.post("/v1/embeddings", json={"input": "y"})).status == 200

    talk(chat, queue=8)


def test_deadlines(talk: Talk, predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    go, real = threading.Event(), predictor.encode_texts

    def slow(texts: Sequence[str]) -> Any:
        if list(texts) == ["block"]:
            go.wait(20)
        return real(texts)

    monkeypatch.setattr(predictor, "encode_texts", slow)

    async def chat(client: Any) -> None:
        first = asyncio.ensure_future(client.post("/v1/embeddings", json={"input": "block"}))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(client.post("/v1/embeddings", json={"input": "late"}))
        await asyncio.sleep(0.6)
        go.set()
        assert (await first).status == 200
        late = await second
        assert (late.status, (await late.json())["error"]["code"]) == (503, "deadline")

    talk(chat, deadline=0.4)


def test_slow_senders(talk: Talk) -> None:
    async def chat(client: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        writer.write(head + b"\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        assert b"408" in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        half_reader, half = await asyncio.open_connection("127.0.0.1", client.port)
        half.write(head + b"\r\nContent-Length: 100\r\n\r\n{")
        half.write_eof()
        await asyncio.wait_for(half_reader.read(), 10)
        half.close()
        assert (await client.post("/v1/embeddings", json={"input": "a"})).status == 200

    talk(chat, body_seconds=0.5)


def test_one_bad_item_does_not_fail_its_neighbours(
    talk: Talk, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.errors import DataError

    real = predictor.encode_texts

    def failing(texts: Sequence[str]) -> Any:
        if "bad" in texts:
            raise DataError("this text has no finite vector")
        return real(texts)

    monkeypatch.setattr(predictor, "encode_texts", failing)

    async def chat(client: Any) -> None:
        tasks = [client.post("/v1/embeddings", json={"input": text}) for text in ("x", "bad", "y")]
        statuses = [response.status for response in await asyncio.gather(*tasks)]
        assert statuses == [200, 400, 200]

    talk(chat)


def test_the_log_holds_no_payload(talk: Talk, uri: Uri, capfd: pytest.CaptureFixture[str]) -> None:
    async def chat(client: Any) -> None:
        sent = {"Authorization": "Bearer geheim-key-12345"}
        await client.post("/v1/embeddings?q=geheim", json={"input": "geheim"}, headers=sent)
        await client.post("/v1/embeddings", json={"geheim": 1})
        await client.get("/geheim")
        await client.get("/v1/models/geheim")

    capfd.readouterr()
    talk(chat)
    _, err = capfd.readouterr()
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 400, 404, 404]
    assert lines[0]["texts"] == 1
    assert lines[3]["route"] == "/v1/models/{name}"
    assert "geheim" not in err


def test_a_failure_of_ours_is_a_500_without_details(
    talk: Talk, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chat(client: Any) -> None:
        def broken(texts: Sequence[str]) -> Any:
            raise ValueError("/secret/path")

        monkeypatch.setattr(predictor, "encode_texts", broken)
        response = await client.post("/v1/embeddings", json={"input": "zzz"})
        assert response.status == 500
        assert "secret" not in await response.text()

    talk(chat)


def test_pictures_of_every_kind(talk: Talk, uri: Uri) -> None:
    red = Image.new("RGB", (64, 48), "red")

    async def chat(client: Any) -> None:
        images = [uri(red, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]
        answer = await (await client.post("/v1/embeddings", json={"input": images})).json()
        rows = np.array([each["embedding"] for each in answer["data"]])
        assert np.abs(rows - rows[0]).max() < 0.05

    talk(chat)
