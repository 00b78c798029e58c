"""The service against infinity-emb: images and texts per second, latency, memory; and a soak.

Both serve the same CLIP ViT-B/32 (random weights, an artifact and its export for transformers) on
loopback with one thread of arithmetic. One client program asks them in turn: 1, 8 and 64 clients
that each send one picture (JPEG, 640 x 480, as a data URI) or one text (1 to 16 words, no two
alike) after another.
Engine serves twice: the artifact in float32, and its int8 export, which the gate let pass.
infinity-emb is installed into build/peers/infinity where it is not there yet. With `--soak N`, so
many requests of 64 clients go to Engine, every eighth of them hostile. In parts: `--only image`,
`--clients 8`, `--seconds 5`.

No text comes twice, so Engine's cache of text vectors answers none of them; pictures come again,
and neither server keeps their vectors. infinity-emb has no deadline of a request, so Engine's
is 300 seconds here.

Targets: image_ratio at least 1.1 and text_ratio at least 1.5 (Engine over infinity, the smallest
over the numbers of clients), p99 no worse; ratio (int8 images over infinity's) at least 2;
soak_lost 0.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from measure import ROOT, arguments, engine_command, finish
from PIL import Image
from rich.console import Console
from rich.table import Table

PEERS = ROOT / "build" / "peers"
CLIENTS = (1, 8, 64)
KINDS = ("image", "text")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def peer() -> Path:
    """infinity's command, in an environment of its own."""
    command = PEERS / "infinity" / "bin" / "infinity_emb"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / "infinity")], check=True)
        pip = [str(command.with_name("python")), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "infinity-emb[all]", "aiohttp"], check=True)
    return command


def make_models(folder: Path) -> tuple[Path, Path, Path]:
    """The artifact, its int8 export, and the same weights as transformers (old ones too) reads."""
    text = (ROOT / "configs" / "clip_openai.yaml").read_text(encoding="utf-8")
    text = re.sub(r'from: "open_clip:[^"]*", otherwise: scratch', "from: scratch", text)
    (folder / "model.yaml").write_text(text, encoding="utf-8")
    artifact, int8, export = folder / "artifact", folder / "int8", folder / "clip"
    for command in (["build", str(folder / "model.yaml"), "-o", str(artifact)],
                    ["export", str(artifact), "--to", "onnx", "--int8", "-o", str(int8)],
                    ["export", str(artifact), "--to", "clip", "-o", str(export)]):  # fmt: skip
        subprocess.run([engine_command(), *command], check=True, stdout=subprocess.DEVNULL)
    processor = json.loads((export / "processor_config.json").read_text())["image_processor"]
    (export / "preprocessor_config.json").write_text(json.dumps(processor))
    tokenizer = json.loads((export / "tokenizer_config.json").read_text())
    tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    (export / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return artifact, int8, export


@contextlib.contextmanager
def running(command: list[str], ready: str) -> Iterator[int]:
    """A server while inside; gives its process id, and ends it by that."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait(process, ready, log)
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], ready: str, log: Any) -> None:
    import urllib.request

    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(ready, timeout=5)
            return
        time.sleep(0.5)
    log.seek(0)
    sys.exit(f"benchmark: a server did not start:\n{log.read().decode(errors='replace')[-3000:]}")


def memory_of(pid: int) -> float:
    """Megabytes of a process and its children; what they share counts once."""
    total, family = 0, {pid}
    stats = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            stats[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    for _ in range(4):
        family |= {child for child, parent in stats.items() if parent in family}
    for each in family:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total * 1024 / 1e6


def pictures(count: int = 8) -> list[str]:
    """Data URIs of JPEGs of 640 x 480."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        found.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return found


async def load(
    url: str, model: str, kind: str, clients: int, seconds: float, images: list[str], peer: bool
) -> dict[str, float]:
    """Requests per second and latency of so many clients that each wait for their answer."""
    words = ["photo", "cat", "dog", "tree", "house", "red", "blue", "small", "large", "old", "new"]
    took: list[float] = []
    begin = time.perf_counter()
    end = begin + seconds

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        turn, rng = 0, np.random.default_rng(1000 * clients + number)
        while time.perf_counter() < end:
            turn += 1
            if kind == "image":
                body: dict[str, Any] = {"input": [images[(turn + number) % len(images)]]}
                if peer:
                    body["modality"] = "image"
            else:
                chosen = " ".join(rng.choice(words, rng.integers(1, 17)))
                body = {"input": [f"{chosen} {number} {turn} {seconds}"]}
            started = time.perf_counter()
            async with session.post(url, json={**body, "model": model}) as response:
                answer = await response.json()
                if response.status != 200:
                    sys.exit(f"benchmark: {url} answers {response.status}: {str(answer)[:300]}")
            took.append(time.perf_counter() - started)

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(one(session, number) for number in range(clients)))
    spent = time.perf_counter() - begin
    cuts = statistics.quantiles(took, n=100, method="inclusive") if len(took) > 1 else took * 99
    return {"per_second": len(took) / spent, "p50": cuts[49], "p99": cuts[98]}


def compare(seconds: float, kinds: Sequence[str], numbers: Sequence[int]) -> dict[str, Any]:
    """All servers run; one is asked, then the next, so that a busy machine slows them alike."""
    figures: dict[str, Any] = {}
    images = pictures()
    with tempfile.TemporaryDirectory() as name:
        artifact, int8, export = make_models(Path(name))
        ports = {who: free_port() for who in ("infinity", "engine", "int8")}
        own = {who: f"http://127.0.0.1:{port}" for who, port in ports.items()}
        theirs = [str(peer()), "v2", "--model-id", str(export), "--device", "cpu",
                  "--host", "127.0.0.1", "--port", str(ports["infinity"]), "--no-model-warmup",
                  "--served-model-name", "clip"]  # fmt: skip
        engine, rounded = (
            [engine_command(), "serve", str(model), "--port", str(ports[who]), "--threads", "1",
             "--decoders", "1", "--deadline", "300"]
            for who, model in (("engine", artifact), ("int8", int8))
        )  # fmt: skip
        asked = {
            "infinity": (f"{own['infinity']}/embeddings", "clip"),
            "engine": (f"{own['engine']}/v1/embeddings", "clip_openai"),
            "int8": (f"{own['int8']}/v1/embeddings", "clip_openai"),
        }
        with (
            running(theirs, f"{own['infinity']}/models") as their_pid,
            running(engine, f"{own['engine']}/ready") as our_pid,
            running(rounded, f"{own['int8']}/ready") as int8_pid,
        ):
            for kind in kinds:
                for clients in numbers:
                    for who, (url, model) in asked.items():
                        other = who == "infinity"
                        asyncio.run(load(url, model, kind, 2, 1, images, other))  # warm
                        found = asyncio.run(load(url, model, kind, clients, seconds, images, other))
                        for key, value in found.items():
                            figures[f"{who}_{kind}_{clients}_{key}"] = value
            figures["infinity_mb"] = memory_of(their_pid)
            figures["engine_mb"] = memory_of(our_pid)
            figures["int8_mb"] = memory_of(int8_pid)
    for kind in kinds:
        for who, prefix in (("engine", ""), ("int8", "int8_")):
            ratios = []
            for clients in numbers:
                fast, slow = (
                    figures[f"{one}_{kind}_{clients}_per_second"] for one in (who, "infinity")
                )
                figures[f"{prefix}{kind}_{clients}_ratio"] = fast / slow
                ratios.append(fast / slow)
            figures[f"{prefix}{kind}_ratio"] = min(ratios)
    if "image" in kinds:
        figures["ratio"] = figures["int8_image_ratio"]
    return figures


async def soak(url: str, pid: int, count: int, image: str) -> dict[str, Any]:
    """Requests of 64 clients, every eighth one hostile."""
    left, lost, good = iter(range(count)), 0, 0
    port = int(url.rsplit(":", 1)[1])
    memory: list[float] = []

    async def hostile(number: int) -> None:
        head = (
            b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        bodies = (
            head + b"Content-Length: 900\r\n\r\n{", b"\x16\x03\x01" + bytes(300),
            head + b"Content-Length: 100000\r\n\r\n" + b"[" * 100_000,
            head + b"Content-Length: 99999999999\r\n\r\n",
            head + b'Content-Length: 16\r\n\r\n{"input": ["x"]}', head[:40],
        )  # fmt: skip
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bodies[number % len(bodies)])
            if number % 2:
                writer.write_eof()
            await asyncio.wait_for(reader.read(), 3)
            writer.close()

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal lost, good
        for number in left:
            if number % 500 == 0:
                memory.append(memory_of(pid))
            if number % 8 == 7:
                await hostile(number // 8)
                continue
            body = {"input": [f"text {number % 3000}", *([image] if number % 5 == 0 else [])]}
            async with session.post(f"{url}/v1/embeddings", json=body) as response:
                await response.read()
                good += response.status == 200
                lost += response.status != 200

    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await asyncio.gather(*(client(session) for _ in range(64)))
    middle = max(1, len(memory) // 4)
    return {"soak_requests": count, "soak_good": good, "soak_lost": lost,
            "soak_mb_early": memory[middle] if len(memory) > middle else memory[-1],
            "soak_mb_end": memory_of(pid)}  # fmt: skip


def soaked(count: int) -> dict[str, Any]:
    """The soak, with the small model of the tests' kind so that the service itself is the load."""
    config = """\
engine: 1
name: soak
model:
  embed_dim: 64
  vision: {use: small_vit, image_size: 32, convolutions: 3, width: 64, layers: 2, heads: 2}
  text: {use: gpt3small, width: 64, layers: 2, heads: 2, vocab_size: 400, max_tokens: 32,
         n_positions: 64, tokenizer: {use: trained}}
  projection: {vision: {use: linear}, text: {use: linear}}
data: {train: {use: shapes, count: 40, size: 16}}
"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.yaml").write_text(config, encoding="utf-8")
        command = [engine_command(), "build", str(folder / "m.yaml"), "-o", str(folder / "a")]
        subprocess.run(command, check=True, capture_output=True)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [engine_command(), "serve", str(folder / "a"), "--port", str(port)]
        with running(command, f"{url}/ready") as pid:
            return asyncio.run(soak(url, pid, count, pictures(1)[0]))


def main() -> None:
    """Measure, print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement (20)")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="requests of a soak")
    parser.add_argument("--only", choices=KINDS, help="images or texts alone")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="(1 8 64)")
    parser.add_argument("--no-peer", action="store_true", help="only the soak")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.soak:
        figures |= soaked(options.soak)
    if not options.no_peer:
        figures |= compare(
            options.seconds, [options.only] if options.only else KINDS, options.clients
        )
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)
    finish(options.json, figures)


if __name__ == "__main__":
    main()
