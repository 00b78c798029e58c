"""Searching and indexing: exact and inverted search of generated vectors, and rclip beside Engine.

Part 1: exact search against numpy, and an inverted file's recall and queries per second against
brute force, on generated vectors without clusters, one thread. Part 2 (`--million`): an index
of a million such vectors, filled and searched by processes of their own, whose peak memory counts.
Part 3 (`--rclip`): pictures of 12 megapixels are indexed by `engine index` and by rclip, each a
process of its own with the same weights (an ONNX export of the model of Engine), one thread of
arithmetic; the CPU seconds of an index of two pictures (which load the model) are taken off. Engine
does it twice: with the artifact in float32, and with its int8 export, which the gate let pass.
rclip is installed into build/peers/rclip where it is not there yet. `--only rclip`: no part 1.

Targets: exact_equal true; recall at least .95; million_mb at most 2000; ratio (pictures per CPU
second, Engine over rclip) at least 1.3 in float32, int8_ratio at least 2.5; again_seconds: a second
run with 1 % changed files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from measure import ROOT, arguments, engine_command, finish
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from engine.search.catalogue import Catalogue
from engine.search.nearest import Exact, Inverted, brute_force, recall
from engine.search.partition import open_index, renew

WIDTH, TOP = 512, 10
PEERS = ROOT / "build" / "peers"
CONFIG = """\
engine: 1
name: search_benchmark
model:
  embed_dim: 512
  vision: {use: openai_clip, arch: ViT-B-32-256, weights: {from: scratch}}
  text: {use: gpt3small, width: 64, layers: 2, heads: 2, vocab_size: 400, max_tokens: 32,
         n_positions: 64, tokenizer: {use: trained}}
  projection: {vision: {use: identity}, text: {use: linear}}
data: {train: {use: shapes, count: 40, size: 16}}
"""


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Rows of length 1 of a smooth cloud of 64 dimensions in all of them, as photographs' lie.

    There are no separate clusters in it, which would be easier to search.
    """
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(99)
    axes = fixed.standard_normal((64, WIDTH), dtype=np.float32)
    axes /= np.sqrt(np.arange(1, 65, dtype=np.float32))[:, None]
    rows = rng.standard_normal((count, 64), dtype=np.float32) @ axes
    rows += 2 * fixed.standard_normal(WIDTH, dtype=np.float32)  # a common direction
    rows += 0.1 * rng.standard_normal((count, WIDTH), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows, np.float32)


def exact_equals_numpy() -> bool:
    """Whether ids and scores of the exact search are those of numpy."""
    rows, queries = vectors(20_000, 0), vectors(100, 1)
    index = Exact(WIDTH)
    index.add(np.arange(len(rows)), rows)
    scores, ids = index.search(queries, TOP)
    cosines = queries @ rows.T
    expected = np.argsort(-cosines, axis=1, kind="stable")[:, :TOP]
    close = np.allclose(scores, np.take_along_axis(cosines, expected, 1), atol=1e-5)
    return bool(close and (ids == expected).mean() > 0.999)


def per_second(index: Exact | Inverted, queries: NDArray[np.float32]) -> float:
    """Queries that come one after another, as users ask."""
    index.search(queries[:5], TOP)
    started = time.perf_counter()
    for query in queries:
        index.search(query[None], TOP)
    return len(queries) / (time.perf_counter() - started)


def inverted(count: int) -> dict[str, Any]:
    """Recall and speed of an inverted file."""
    rows, ids = vectors(count, 0), np.arange(count)
    started = time.perf_counter()
    index = Inverted.train(WIDTH, count, rows[: Inverted.sample_size(count)])
    for start in range(0, count, 20_000):
        index.add(ids[start : start + 20_000], rows[start : start + 20_000])
    tuning, asked = vectors(256, 2), vectors(500, 3)
    index.tune(tuning, brute_force(tuning, iter([(ids, rows)]), TOP)[1])
    seconds = time.perf_counter() - started
    exact = Exact(WIDTH)
    exact.add(ids, rows)
    _, truth = exact.search(asked, TOP)
    return {
        "vectors": count, "recall": recall(index.search(asked, TOP)[1], truth),
        "probes": index.probes, "build_seconds": seconds,
        "inverted_per_second": per_second(index, asked),
        "brute_per_second": per_second(exact, asked[:100]),
    }  # fmt: skip


def fill(folder: Path, count: int) -> dict[str, Any]:
    """A process: an index of generated vectors, as `engine index` writes it."""
    folder.mkdir(parents=True)
    catalogue = Catalogue(folder, writable=True)
    catalogue.tell("width", str(WIDTH))
    for start in range(0, count, 20_000):
        rows = vectors(min(20_000, count - start), start + 5)
        catalogue.change(
            ("INSERT INTO vectors(digest, vector) VALUES(?, ?)",
             ((start + i).to_bytes(32, "big"), row.tobytes()))
            for i, row in enumerate(rows)
        )  # fmt: skip
    renew(folder, catalogue, WIDTH)
    return {}


def ask(folder: Path, count: int) -> dict[str, Any]:
    """A process: open the index and search it."""
    catalogue = Catalogue(folder)
    started = time.perf_counter()
    index, _, _ = open_index(folder, catalogue, WIDTH)
    opened = time.perf_counter() - started
    assert isinstance(index, Inverted)
    assert len(index) == count
    asked = vectors(100, 7)
    _, truth = brute_force(asked, catalogue.vectors_after(0, WIDTH), TOP)
    return {"open_seconds": opened, "recall": recall(index.search(asked, TOP)[1], truth),
            "per_second": per_second(index, asked)}  # fmt: skip


def million(count: int) -> dict[str, Any]:
    """Memory of filling and of searching a large index, each in a process."""
    found: dict[str, Any] = {"million_vectors": count}
    with tempfile.TemporaryDirectory() as folder:
        for job in ("fill", "ask"):
            command = [sys.executable, __file__, job, f"{folder}/index", str(count)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            out = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"benchmark: {job} failed")
            found |= {f"million_{key}": value for key, value in json.loads(out).items()}
            found[f"million_{job}_mb"] = usage.ru_maxrss * 1024 / 1e6
    found["million_mb"] = max(found["million_fill_mb"], found["million_ask_mb"])
    return found


def cpu_of(command: list[str], environment: dict[str, str], folder: Path) -> float:
    """CPU seconds of a command and everything that it starts."""
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("process_tree.py")), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, cwd=folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(ran.stdout.splitlines()[-1])
    if found["code"]:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{found['errors']}")
    return float(found["cpu"])


def draw(folder: Path, count: int, size: tuple[int, int] = (4000, 3000)) -> None:
    """Pictures of 12 megapixels with detail at every scale, JPEG of some 3 MB each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        fine = Image.fromarray(rng.integers(0, 60, (750, 1000), dtype=np.uint8)).resize(size)
        bands = [Image.blend(band, fine, 0.25) for band in image.split()]
        Image.merge("RGB", bands).save(folder / f"{number:05}.jpg", quality=85)


def peer() -> Path:
    """The Python of rclip's own environment."""
    python = PEERS / "rclip" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS / "rclip")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "rclip"], check=True)
    return python


def give_weights(artifact: Path, data: Path) -> None:
    """Engine's vision tower as the file that rclip reads; its text files are not needed here.

    Also writes the int8 export that Engine indexes with.
    """
    import onnx
    from onnx import compose  # noqa: F401 (loads what load() needs)

    folder = artifact.with_name("onnx")
    for more in (["-o", str(folder)], ["-o", str(artifact.with_name("int8")), "--int8"]):
        subprocess.run(
            [engine_command(), "export", str(artifact), "--to", "onnx", *more], check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    model = onnx.load(folder / "vision.onnx")
    names = {model.graph.input[0].name: "input", model.graph.output[0].name: "output"}
    for node in model.graph.node:
        for places in (node.input, node.output):
            for place, name in enumerate(places):
                places[place] = names.get(name, name)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    home = data / "ViT-B-32-256-datacomp_s34b_b86k"
    home.mkdir(parents=True)
    onnx.save(model, home / "visual.onnx")
    shutil.copy(folder / "text.onnx", home / "textual.onnx")
    (data / "tokenizer").mkdir()
    (data / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz").write_bytes(b"")


def against_rclip(count: int) -> dict[str, Any]:
    """Pictures indexed per CPU second."""
    from engine.core.build import build, save
    from engine.core.config import load_config

    python, engine = peer(), engine_command()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.yaml").write_text(CONFIG, encoding="utf-8")
        artifact = folder / "artifact"
        save(build(load_config(folder / "model.yaml")), artifact)
        give_weights(artifact, folder / "data")
        draw(folder / "many", count)
        draw(folder / "few", 2)
        cpu: dict[str, float] = {}
        for which in ("few", "many"):
            photos = folder / which
            environment = {"RCLIP_DATADIR": str(folder / "data"), "HF_HUB_OFFLINE": "1"}
            query = str(folder / "few" / "00000.jpg")
            cpu["rclip", which] = cpu_of(  # type: ignore[index]
                [str(python), "-m", "rclip", query], environment, photos
            )
            for who, model in (("int8", artifact.with_name("int8")), ("engine", artifact)):
                index = str(folder / f"index-{who}-{which}")
                command = [engine, "index", str(photos), "-m", str(model), "-o", index,
                           "--threads", "1", "--workers", "1"]  # fmt: skip
                cpu[who, which] = cpu_of(command, {}, photos)  # type: ignore[index]
        rates = {
            who: (count - 2) / (cpu[who, "many"] - cpu[who, "few"])  # type: ignore[index]
            for who in ("engine", "int8", "rclip")
        }
        changed = sorted((folder / "many").iterdir())[:: max(1, min(100, count - 1))][
            : max(1, count // 100)
        ]
        for path in changed:
            with Image.open(path) as image:
                image.rotate(180).save(path, quality=85)
        started = time.perf_counter()
        ran = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
        again = time.perf_counter() - started
        encoded = json.loads(ran.stdout)["encoded"]
        cosine = reduced_cosine(artifact, folder / "many", min(count, 16))
    return {"pictures": count, "engine_per_cpu_second": rates["engine"],
            "rclip_per_cpu_second": rates["rclip"], "ratio": rates["engine"] / rates["rclip"],
            "int8_per_cpu_second": rates["int8"], "int8_ratio": rates["int8"] / rates["rclip"],
            "again_seconds": again, "again_changed": len(changed),
            "again_encoded": encoded,
            "reduced_cosine": cosine}  # fmt: skip


def reduced_cosine(artifact: Path, photos: Path, count: int) -> float:
    """The smallest cosine of a picture's vector with that of the picture decoded whole."""
    import engine
    from engine.data.pictures import decode
    from engine.search.reading import REDUCED

    model = engine.load(artifact)
    size = model.model.vision.preprocess.size
    files = [path.read_bytes() for path in sorted(photos.iterdir())[:count]]
    whole = model.encode_images(files)
    part = model.encode_images([decode(data, at_least=REDUCED * size).image for data in files])
    return float((whole * part).sum(axis=1).min())


def main() -> None:
    """Measure, print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--vectors", type=int, default=200_000, help="of the inverted file")
    parser.add_argument("--million", type=int, default=0, metavar="N", help="vectors of part 2")
    parser.add_argument("--rclip", type=int, default=0, metavar="N", help="pictures of part 3")
    parser.add_argument("--only", choices=("million", "rclip"), help="without part 1")
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    figures: dict[str, Any] = {}
    if options.only is None:
        figures["exact_equal"] = exact_equals_numpy()
    if options.vectors and options.only is None:
        figures |= inverted(options.vectors)
    if options.million and options.only != "rclip":
        figures |= million(options.million)
    if options.rclip and options.only != "million":
        figures |= against_rclip(options.rclip)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)
    finish(options.json, figures)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("fill", "ask"):
        faiss.omp_set_num_threads(1)
        print(
            json.dumps({"fill": fill, "ask": ask}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
        )
    else:
        main()
