"""The commands of benchmarks/soak.py: their inputs, what they are given, what must come out."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "tiny"

CONFIG = """\
engine: 1
name: little
model:
  embed_dim: 16
  vision: {use: small_vit, image_size: 16, convolutions: 2, width: 16, layers: 1, heads: 2}
  text: {use: gpt3small, width: 16, layers: 1, heads: 2, vocab_size: 400, max_tokens: 15,
         n_positions: 32, tokenizer: {use: trained}}
  projection: {vision: {use: linear}, text: {use: linear}}
data:
  train: {use: shapes, count: 64, size: 16}
  evaluate: [{use: shapes, count: 16, size: 16, split: test}]
train:
  threads: 1
  device: cpu
  loggers: [{use: json_lines}]
  save_steps: 3
  stages:
    - {name: texts, trains: {text: {blocks: last 1}}, epochs: 2, batch_size: 16}
    - {name: everything, trains: {vision: true, text: true}, epochs: 3, batch_size: 16}
"""

CLUSTERS = """\
clusters:
  most_frequent: 60
  embedder: {use: tfidf_svd, width: 8}
  clusterer: {use: agglomerative_knn, count: 4}
"""

SUITE = """\
engine: 1
name: soak
jobs: 2
threads: 1
limits: [3 MB]
measure: {speed: false, draws: 100}
entries:
  - {name: little, config: little.yaml}
  - {name: other, config: little.yaml, set: {seed: 3}}
data:
  - {dataset: {use: shapes, split: test, size: 16, count: 16}}
"""

IMAGES = 60
LINES = 6000


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        name: of the row in the table.
        share: of the kills.
        given: its arguments; ``{inputs}`` and ``{out}`` stand for folders.
        result: a digest of what matters in ``out``, the same however it came about.
        resume: it may say that `--resume` goes on.
        old: arguments of the same command that leave another result there first; where empty the
            command begins with nothing there.
    """

    name: str
    share: int
    given: tuple[str, ...]
    result: Callable[[Path], str]
    resume: bool = False
    old: tuple[str, ...] = ()


def digest(parts: Iterator[tuple[str, bytes]]) -> str:
    """One digest of named pieces."""
    whole = hashlib.sha256()
    for name, data in sorted(parts):
        whole.update(f"{name} {len(data)} ".encode() + data)
    return whole.hexdigest()


def every_file(out: Path, *but: str) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder."""
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.is_file() and not any(name.startswith(each) for each in but):
            yield name, path.read_bytes()


def of_folder(out: Path) -> str:
    """Every file, every byte."""
    return digest(every_file(out))


def of_run(out: Path) -> str:
    """Weights, and what was measured but for the clock."""
    manifest = json.loads((out / "model" / "engine.json").read_text())
    stages = [{k: v for k, v in stage.items() if k not in ("seconds", "samples_per_second")}
              for stage in manifest["stages"]]  # fmt: skip
    history = json.dumps([stages, manifest["scores"]]).encode()
    weights = (out / "model" / "model.safetensors").read_bytes()
    return digest(iter([("history", history), ("weights", weights)]))


def of_bench(out: Path) -> str:
    """Every answer, and every model's weights."""

    def parts() -> Iterator[tuple[str, bytes]]:
        for path in out.glob("results/*.answers.json"):
            yield path.name.split(".")[0], path.read_bytes()
        for path in out.glob("models/*/model/model.safetensors"):
            yield path.parts[-3].split(".")[0] + " weights", path.read_bytes()
        leaderboard = json.loads((out / "leaderboard.json").read_text())
        yield "failed", str([r for r in leaderboard["results"] if r.get("failure")]).encode()

    return digest(parts())


def of_download(out: Path) -> str:
    """Pictures and tables; the state keeps a history of its own."""
    return digest(every_file(out, "state.sqlite"))


def of_clean(out: Path) -> str:
    """The cleaned table; its report names folders."""
    return digest(iter([("table", (out / "metadata.clean.json").read_bytes())]))


def of_clusters(out: Path) -> str:
    """The clusters; the page is drawn from them."""
    return digest(every_file(out, "clusters.html"))


def of_export(out: Path) -> str:
    """Which files there are, and that each is whole; their bytes hold names of torch's own."""
    manifest = json.loads((out / "export.json").read_text())
    for name, record in manifest["files"].items():
        if hashlib.sha256((out / name).read_bytes()).hexdigest() != record["sha256"]:
            raise ValueError(f"{name} is not whole")
    return digest((name, b"") for name, _ in every_file(out))


COMMANDS = (
    Command("build", 6, ("build", "{inputs}/little.yaml", "-o", "{out}"), of_folder,
            old=("--set", "seed=9")),
    Command("train", 10, ("train", "{inputs}/little.yaml", "-o", "{out}"), of_run, resume=True),
    Command("train --force", 4, ("train", "{inputs}/little.yaml", "-o", "{out}", "--force"),
            of_run, resume=True, old=("--set", "seed=9")),
    Command("bench", 2, ("bench", "{inputs}/suite.yaml", "--folder", "{out}"), of_bench),
    Command("download", 6, ("data", "download", "{inputs}/metadata.json", "{inputs}/images.json",
                            "{out}", "--allow-private", "--workers", "1", "--size", "32",
                            "--retries", "0", "--per-host", "4"), of_download),
    Command("download shards", 2, ("data", "download", "{inputs}/metadata.json",
                                   "{inputs}/images.json", "{out}", "--allow-private", "--workers",
                                   "1", "--size", "32", "--retries", "0", "--format", "webdataset",
                                   "--shard-size", "16"), of_download),
    Command("clean", 5, ("data", "clean", "{out}", "--workers", "1"), of_clean),
    Command("cluster fit", 2, ("cluster", "fit", "{inputs}/clusters.yaml", "-o", "{out}"),
            of_clusters),
    Command("import", 2, ("import", "{inputs}/clip", "--config", "{inputs}/clip.yaml", "-o",
                          "{out}"), of_folder, old=("--set", "storage.default=float16")),
    Command("export", 1, ("export", "{inputs}/model", "--to", "onnx", "-o", "{out}"), of_export),
)  # fmt: skip
"""All of them; the shares are of 40."""


def prepare(command: Command, inputs: Path, out: Path) -> None:
    """What must lie in ``out`` before the command."""
    if command.name == "clean":
        out.mkdir(parents=True)
        (out / "metadata.json").write_bytes((inputs / "queries.json").read_bytes())


def write_inputs(inputs: Path, port: int) -> None:
    """Configs, lists and tables; the model comes from a build."""
    inputs.mkdir(parents=True)
    (inputs / "little.yaml").write_text(CONFIG)
    (inputs / "clip.yaml").write_text((CONFIGS / "clip_openai.yaml").read_text())
    (inputs / "clusters.yaml").write_text(CONFIG + CLUSTERS)
    (inputs / "suite.yaml").write_text(SUITE.replace("little.yaml", str(inputs / "little.yaml")))
    queries = (f'{{"image": {i}, "queries": ["Кот  номер {i % 97}", "{i} DOG"]}}\n'
               for i in range(LINES))  # fmt: skip
    (inputs / "queries.json").write_text("".join(queries))
    names = [{"image": i, "queries": [f"picture {i}"]} for i in range(IMAGES)]
    urls = [{"image": i, "url": f"http://127.0.0.1:{port}/{i}"} for i in range(IMAGES)]
    for name, rows in (("metadata.json", names), ("images.json", urls)):
        (inputs / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def serve(ready: Callable[[int], None]) -> None:
    """Small pictures over HTTP, every seventh missing, each after a moment. Never comes back."""
    from PIL import Image

    pictures = {}
    for number in range(IMAGES):
        buffer = io.BytesIO()
        Image.new("RGB", (48, 40), (number * 4, 90, 200 - number)).save(buffer, "JPEG")
        pictures[f"/{number}"] = buffer.getvalue() if number % 7 != 3 else None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(0.02)
            data = pictures.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        ready(server.server_address[1])
        parent = os.getppid()
        server.timeout = 1
        while os.getppid() == parent:
            server.handle_request()
