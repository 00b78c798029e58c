"""The service as a process: real clients, a browser, hostile senders, and its end under load."""

from __future__ import annotations

import base64
import concurrent.futures
import io
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from engine.evaluate.loading import load

pytestmark = pytest.mark.slow
Start = Callable[..., Any]
Uri = Callable[..., str]


@pytest.fixture
def service(start: Start, built: Path, photos: Path, tmp_path: Path) -> Any:
    """A service with an index of the pictures."""
    from engine.search.building import build_index

    build_index(tmp_path / "index", [photos], load(built), model=built, workers=1)
    return start("--index", tmp_path / "index")


def test_the_official_client_and_curl(service: Any, built: Path, uri: Uri) -> None:
    model = load(built)
    picture = Image.new("RGB", (40, 30), "red")
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    assert [each.id for each in client.models.list()] == ["little"]
    assert client.models.retrieve("little").owned_by == "engine"
    texts = ["красный круг", "синий квадрат"]
    for form in ("float", "base64", None):
        more: dict[str, Any] = {} if form is None else {"encoding_format": form}
        found = client.embeddings.create(input=[*texts, uri(picture)], model="little", **more)
        rows = [each.embedding for each in found.data]
        if form == "base64":
            rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]  # type: ignore[arg-type, misc]
        expected = np.concatenate([model.encode_texts(texts), model.encode_images(picture)])
        np.testing.assert_allclose(np.array(rows, np.float32), expected, atol=1e-5)
        assert found.usage.total_tokens > 2
    short = client.embeddings.create(input=texts[0], model="little", dimensions=4)
    assert len(short.data[0].embedding) == 4
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(input="x", model="other")
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(input=[[1, 2]], model="little")  # type: ignore[list-item]
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"images": [uri(picture)], "classes": ["круг", "квадрат"]})
    ran = subprocess.run(
        [curl, "-sS", "--fail-with-body", f"{service.url}/v1/classify",
         "-H", "Content-Type: application/json", "-d", "@-"],
        input=body.encode(), capture_output=True, check=True,
    )  # fmt: skip
    (row,) = json.loads(ran.stdout)["data"]
    right = model.classify(picture, ["круг", "квадрат"], top=2)[0]
    assert [each["name"] for each in row["answers"]] == [each.name for each in right]


def test_schemathesis_finds_nothing(service: Any) -> None:
    """Every answer is as /openapi.json says, whatever is sent."""
    ran = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json",
         "--max-examples", "15", "--phases", "coverage,fuzzing", "--seed", "1"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
    assert "9 passed" in ran.stdout


def memory_of(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for task in Path("/proc").glob("[0-9]*"):
        try:
            about = (task / "status").read_text()
        except OSError:
            continue
        facts = dict(line.split(":\t", 1) for line in about.splitlines() if ":\t" in line)
        if int(task.name) == pid or int(facts.get("PPid", "0")) == pid:
            total += int(facts.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


def hostile(port: int, turn: int) -> None:
    """Something that no honest client sends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        head = (
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        kind = turn % 6
        if kind == 0:  # half a body, then silence
            link.sendall(head + b"Content-Length: 500\r\n\r\n{")
            link.shutdown(socket.SHUT_WR)
        elif kind == 1:  # not HTTP
            link.sendall(b"\x16\x03\x01\x02\x00" + bytes(200))
        elif kind == 2:  # a lie about the length
            link.sendall(head + b"Content-Length: -5\r\n\r\n{}")
        elif kind == 3:  # deep and wide JSON
            body = b"[" * 50_000
            link.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        elif kind == 4:  # larger than allowed
            link.sendall(head + b"Content-Length: 999999999\r\n\r\n")
        else:  # gone in the middle of the answer
            body = b'{"input": ["x"]}'
            link.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            return
        link.settimeout(4)
        try:
            while link.recv(65_536):
                pass
        except (TimeoutError, ConnectionError):
            pass


def test_a_small_soak(service: Any, uri: Uri) -> None:
    """Good requests are answered beside hostile ones, and memory stays flat."""
    port = int(service.url.rsplit(":", 1)[1])
    picture = uri(Image.new("RGB", (200, 150), "blue"), "JPEG")
    bodies: list[tuple[str, Any]] = [
        ("/v1/classify", {"images": [picture], "classes": ["круг", "квадрат"]}),
        ("/v1/search", {"texts": ["красный круг"]}),
    ]

    def good(turn: int) -> int:
        if turn % 8 == 0:
            hostile(port, turn // 8)
            return 200
        choices = [*bodies, ("/v1/embeddings", {"input": [f"текст {turn}", picture]})]
        path, body = choices[turn % 3]
        return int(service.post(path, body)[0])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(good, range(150))) == {200}
        first = memory_of(service.process.pid)
        assert set(pool.map(good, range(150, 400))) == {200}
    grown = memory_of(service.process.pid) - first
    assert grown < 60e6
    assert service.process.poll() is None


def test_sigterm_under_load_loses_no_accepted_request(service: Any, uri: Uri) -> None:
    picture = uri(Image.new("RGB", (900, 700), "blue"), "JPEG")
    body = json.dumps({"images": [picture] * 4, "classes": ["круг", "квадрат"]}).encode()
    port = int(service.url.rsplit(":", 1)[1])
    head = (
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    links = []
    for _ in range(24):
        link = socket.create_connection(("127.0.0.1", port), timeout=60)
        link.sendall(head + body)
        links.append(link)
    deadline = time.monotonic() + 30
    while True:  # every one of them is in the service's hands
        text = urllib.request.urlopen(service.url + "/metrics").read().decode()
        taken = [line for line in text.splitlines() if line.startswith("engine_waiting ")]
        done = text.count('route="/v1/classify",status="200"')
        if float(taken[0].split()[1]) >= 4 or done:
            break
        assert time.monotonic() < deadline
    service.process.send_signal(signal.SIGTERM)
    for link in links:
        answer = b""
        while piece := link.recv(65_536):
            answer += piece
            if answer.endswith(b"}") and b"\r\n\r\n" in answer:
                break
        assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
        link.close()
    assert service.process.wait(60) == 0
    events = [json.loads(line).get("event") for line in service.log.read_text().splitlines()
              if line.startswith("{")]  # fmt: skip
    assert events[-1] == "ended"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_decoder_that_dies_is_replaced(service: Any, uri: Uri) -> None:
    body = {"images": [uri(Image.new("RGB", (9, 9), "red"))], "classes": ["круг", "квадрат"]}
    assert service.post("/v1/classify", body)[0] == 200
    killed = 0
    for task in Path("/proc").glob("[0-9]*"):
        try:
            about, words = (task / "status").read_text(), (task / "cmdline").read_bytes()
        except OSError:
            continue
        if f"PPid:\t{service.process.pid}\n" in about and b"spawn_main" in words:
            subprocess.run(["kill", "-9", task.name], check=True)
            killed += 1
    assert killed
    status, answer = service.post("/v1/classify", body)
    assert status == 200
    assert answer["data"][0]["error"] is None


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a window; skips where it is not installed."""
    selenium = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


def test_the_page(service: Any, browser: Any, photos: Path, tmp_path: Path) -> None:
    """Classify, search and errors, at 1400 and at 375 pixels."""
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    picture = sorted(photos.iterdir())[0]
    at = lambda name: browser.find_element("id", name)  # noqa: E731

    def until(name: str, words: str) -> None:
        deadline = time.monotonic() + 30
        while words not in at(name).text:
            assert time.monotonic() < deadline, at(name).text
            time.sleep(0.05)

    for width in (1400, 375):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == 375},
        )
        browser.get(service.url)
        at("classify").click()
        until("state1", "choose a picture first")
        at("file").send_keys(str(picture))
        at("classes").clear()
        at("classify").click()
        until("state1", "at least one class")
        at("classes").send_keys("красный круг, синий квадрат")
        at("classify").click()
        until("state1", "2 answers")
        assert "%" in at("answers").text
        at("search").click()
        until("state2", "type what the pictures show")
        at("query").send_keys("красный круг")
        at("search").click()
        until("state2", "24 pictures")
        assert "<b>.jpg" in at("hits").text
        assert not browser.find_elements("css selector", "#hits figcaption b")
        at("like").click()
        at("search").click()
        until("state2", "24 pictures")
        at("file").send_keys(str(tmp_path / "broken.jpg"))
        at("classify").click()
        until("state1", "cannot be read")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        fetched = browser.execute_script(
            "return performance.getEntriesByType('resource').map((each) => each.name)"
        )
        assert all(name.startswith((service.url, "data:", "blob:")) for name in fetched)
    service.process.terminate()
    service.process.wait(30)
    at("classify").click()
    until("state1", "does not answer")


def test_start_mistakes(built: Path, start: Start, tmp_path: Path) -> None:
    taken = start()
    port = taken.url.rsplit(":", 1)[1]
    (tmp_path / "keys").write_text("short\n")
    for arguments, words in (
        (("--port", port), "cannot be listened on"),
        (("--api-keys", str(tmp_path / "keys")), "at least 16 characters"),
        (("--index", str(tmp_path)), "is not an index"),
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "engine", "serve", str(built), *arguments],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert ran.returncode == 2
        assert words in ran.stderr


def test_pictures_of_twelve_megapixels(service: Any) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((4000, 3000), 20).convert("RGB").save(buffer, "JPEG", quality=50)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    status, answer = service.post("/v1/embeddings", {"input": uri})
    assert status == 200
    assert len(answer["data"][0]["embedding"]) == 16
