"""The service: in this process with the colour model, or as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from engine.evaluate.predictor import Predictor
from engine.search.building import build_index
from engine.search.index import SearchIndex
from engine.serve import decoding
from engine.serve.app import make_app
from engine.serve.settings import ServeSettings

Client = TestClient[Any, Any]
Talk = Callable[[Client], Awaitable[None]]


def data_uri(image: Image.Image, kind: str = "PNG") -> str:
    """A picture as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def uri() -> Callable[..., str]:
    """Makes data URIs."""
    return data_uri


@pytest.fixture
def talk(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a conversation with the service of the colour model: `talk(chat, index, queue=8)`.

    Pictures are decoded by a thread here; the tests of whole processes decode as users do.
    """

    def thread(decoders: Any) -> ThreadPoolExecutor:
        preprocess, most = decoders._arguments
        decoding._state.update(preprocess=preprocess, max_pixels=most)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(decoding.Decoders, "_make", thread)

    def call(chat: Talk, index: SearchIndex | None = None, **settings: Any) -> None:
        async def run() -> None:
            app = make_app(predictor, index, ServeSettings(**settings))
            async with TestClient(TestServer(app)) as client:
                await chat(client)

        asyncio.run(asyncio.wait_for(run(), 60))

    return call


@pytest.fixture
def index(predictor: Predictor, colours: dict[str, Image.Image], tmp_path: Path) -> SearchIndex:
    """An index of a picture of each colour."""
    folder = tmp_path / "фото"
    (folder / "лето").mkdir(parents=True)
    for number, (name, image) in enumerate(colours.items()):
        image.save((folder / "лето" if number % 2 else folder) / f"{name}.png")
    build_index(tmp_path / "index", [folder], predictor, workers=1)
    return SearchIndex(tmp_path / "index")


@dataclass
class Service:
    """A service in a process of its own.

    Attributes:
        url: where it listens.
        process: the process.
        log: the file of its log.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer of a request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures, some with odd names."""
    folder = tmp_path_factory.mktemp("photos") / "фото"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(30):
        pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"снимок {number} <b>.jpg")
    return folder


@pytest.fixture
def start(built: Path, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of the little model: `start("--index", folder)`."""
    started: list[Service] = []

    def call(*arguments: object) -> Service:
        log = tmp_path / f"log{len(started)}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine", "serve", str(built), "--port", "0",
                 *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=file, env=environment,
            )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert "http://" in line, log.read_text()
        started.append(Service(line.split()[-1], process, log))
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(started[-1].url + "/ready", timeout=10)
                return started[-1]
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    yield call
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            service.process.wait(60)
