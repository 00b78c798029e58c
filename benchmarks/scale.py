"""Does training start at the contest's size? A simulated click log of up to five million images.

Tables, texts and index are real: each image has four queries, each shard a parquet table with a row
for each image. The pictures are few: rows of a table lead to the same sixteen in its tar.

For each size, in processes of their own: ``engine data prepare`` (rows a second, peak memory), the
start of a training up to its first step, and a resume up to its first step (seconds from the start
of the process, imports included; peak memory, mapped files included). Then the index of an
activation cache with a million keys.

    python benchmarks/scale.py --json
    python benchmarks/scale.py --sizes 5000 50000        # a minute

``start_seconds_5m``, ``resume_seconds_5m``, ``start_gib_5m``: at the largest size, prepared.
``growth``: the exponent of preparation's time over rows between the two largest sizes; 1 is linear.
``store_bytes_a_key``: bytes of the cache's index on disk and in memory for each key.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import finish
from rich.console import Console
from rich.table import Table

SIZES = (50_000, 500_000, 5_000_000)
QUERIES, PICTURES, KEYS = 4, 16, 1_000_000
_SHARD = 1_000_000

_TEXT = """
кот собака рыжий большой белая кружка фото картинка рисунок дом лес река море горы машина красный
синий зелёный купить недорого своими руками осень зима вектор логотип обои дети школа цветы букет
торт рецепт платье фасон причёска схема вязание плакат
"""
WORDS = _TEXT.split()

CONFIG = """
engine: 1
name: scale
model:
  embed_dim: 64
  vision: {use: small_vit, image_size: 32, convolutions: 2, width: 64, layers: 2, heads: 2}
  text: {use: gpt3small, width: 64, layers: 2, heads: 2, vocab_size: 30000, max_tokens: 16,
         n_positions: 32, tokenizer: {use: trained}}
  projection: {vision: {use: residual}, text: {use: residual}}
data: {train: {use: click_log, path: data}, prepared: prepared}
train:
  threads: 1
  device: cpu
  loggers: []
  stages: [{name: one, trains: {text: {blocks: last 1}}, epochs: 2, batch_size: 256}]
"""


def write_log(folder: Path, rows: int) -> None:
    """A click log of so many images, in shards."""
    from PIL import Image

    rng = random.Random(rows)
    shards = folder / "data" / "shards"
    shards.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    with (folder / "data" / "metadata.json").open("w", encoding="utf-8", buffering=1 << 20) as file:
        for number in range(rows):
            # Half of the queries are of few words and come often, half are nearly all different.
            texts = [" ".join(rng.choices(WORDS, k=2)) for _ in range(QUERIES // 2)]
            texts += [f"{' '.join(rng.choices(WORDS, k=3))} {rng.randrange(10**7)}"
                      for _ in range(QUERIES - QUERIES // 2)]  # fmt: skip
            file.write(json.dumps({"image": number, "queries": texts}, ensure_ascii=False) + "\n")
    for shard, start in enumerate(range(0, rows, _SHARD)):
        places = []
        with tarfile.open(shards / f"{shard:05d}.tar", "w") as tar:
            for number in range(PICTURES):
                data = io.BytesIO()
                colour = tuple(rng.randrange(256) for _ in range(3))
                Image.effect_noise((64, 64), 80).convert("RGB").point(
                    lambda value, colour=colour: (value + colour[0]) % 256
                ).save(data, "JPEG")
                member = tarfile.TarInfo(f"{start + number}.jpg")
                member.size = len(data.getvalue())
                places.append((tar.offset + 512, member.size))
                data.seek(0)
                tar.addfile(member, data)
        _write_table(
            shards / f"{shard:05d}.parquet", range(start, min(start + _SHARD, rows)), places
        )


def _write_table(path: Path, rows: range, places: list[tuple[int, int]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "id": pa.array([str(row) for row in rows]),
        "offset": pa.array([places[row % PICTURES][0] for row in rows], pa.int64()),
        "bytes": pa.array([places[row % PICTURES][1] for row in rows], pa.int64()),
    }
    parquet.write_table(pa.table(columns), path, row_group_size=100_000)


def peak_gib() -> float:
    """Most memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def job_prepare(folder: Path) -> dict[str, Any]:
    """Prepare the data of a folder."""
    from engine.core.config import load_config
    from engine.prepare.work import prepare

    found = prepare(load_config(folder / "config.yaml"))
    return {"texts": found.texts, "sequences": found.sequences, "bytes": found.bytes}


def job_start(folder: Path, *, resume: bool) -> dict[str, Any]:
    """Train up to the end of the first step, and save."""
    from engine.core.config import load_config
    from engine.train import run
    from engine.train.loop import Trainer

    class Reached(Exception):
        pass

    step = Trainer._step

    def first(self: Trainer, *arguments: Any) -> Any:
        found = step(self, *arguments)
        assert found is not None, "no step was taken"
        if not resume:
            at = self.state.at
            at.batch, at.stage_step, at.step = at.batch + 1, at.stage_step + 1, at.step + 1
            reached.update(figures())
            self.save()
        raise Reached

    def figures() -> dict[str, float]:
        return {"seconds": time.time() - _STARTED, "gib": peak_gib()}

    reached: dict[str, float] = {}
    Trainer._step = first  # type: ignore[method-assign]
    try:
        run.train(load_config(folder / "config.yaml"), folder / "run", resume=resume)
    except Reached:
        return reached or figures()
    sys.exit("the training ended before its first step")


def job_store(folder: Path) -> dict[str, Any]:
    """The index of an activation cache with a million keys, which another process has open."""
    import numpy as np

    from engine.cache.index import EntryPlace, Index

    folder.mkdir()
    index = Index(folder)
    rng, started = np.random.default_rng(0), time.perf_counter()
    for start in range(0, KEYS, 50_000):
        keys = rng.bytes(16 * 50_000)
        with index.writing():
            places = [
                EntryPlace(keys[16 * i : 16 * i + 16], (start + i) * 3096, 3072)
                for i in range(50_000)
            ]
            index.add(places, (start + 50_000) * 3096)
    written = time.perf_counter() - started
    index.close()
    before, started = _resident(), time.perf_counter()
    opened = Index(folder)
    found = len(opened.find([keys[:16]]))
    seconds = time.perf_counter() - started
    assert found == 1
    disk = sum(path.stat().st_size for path in folder.iterdir())
    memory = max(0, _resident() - before)
    return {"bytes_a_key": (disk + memory) / KEYS, "open_ms": 1000 * seconds, "seconds": written}


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def in_process(*arguments: str, cwd: Path) -> dict[str, Any]:
    """Run a job in a process of its own: what it prints, its seconds and peak memory."""
    started = time.time()
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, f"--started={started}"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(rows: int, folder: Path, say: Console) -> dict[str, Any]:
    """All figures of one size."""
    say.print(f"{rows:,} images: writing the log", style="dim")
    folder.mkdir()
    write_log(folder, rows)
    say.print(f"{rows:,} images: preparing", style="dim")
    prepared = in_process("--job", "prepare", cwd=folder)
    start = in_process("--job", "start", cwd=folder)
    resumed = in_process("--job", "resume", cwd=folder)
    return {"rows": rows, "prepare": prepared, "start": start, "resume": resumed}


def show(found: list[dict[str, Any]], store: dict[str, Any]) -> None:
    """The table for people."""
    table = Table(title="engine data prepare, and the start of a training with what it wrote")
    for name in ("images", "texts", "prepare, s", "rows/s", "GiB", "on disk, MB", "start, s",
                 "GiB", "resume, s", "GiB"):  # fmt: skip
        table.add_column(name, justify="right")
    for one in found:
        prepared, start, resumed = one["prepare"], one["start"], one["resume"]
        table.add_row(
            f"{one['rows']:,}", f"{prepared['texts']:,}", f"{prepared['seconds']:.1f}",
            f"{one['rows'] / prepared['seconds']:,.0f}", f"{prepared['gib']:.2f}",
            f"{prepared['bytes'] / 1e6:,.0f}", f"{start['seconds']:.1f}", f"{start['gib']:.2f}",
            f"{resumed['seconds']:.1f}", f"{resumed['gib']:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(
        f"activation cache, {KEYS:,} keys: {store['bytes_a_key']:.1f} bytes of index a key,"
        f" opened in {store['open_ms']:.1f} ms"
    )


def main() -> None:
    """Measure, or do one job in a process that was started for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="images")
    parser.add_argument("--folder", type=Path, help="where the logs are written (temporary)")
    parser.add_argument("--job", choices=("prepare", "start", "resume", "store"))
    parser.add_argument("--started", type=float, default=time.time())
    args = parser.parse_args()
    global _STARTED
    _STARTED = args.started
    if args.job:
        here = Path()
        if args.job == "prepare":
            found = job_prepare(here)
        elif args.job == "store":
            found = job_store(here / "store")
        else:
            found = job_start(here, resume=args.job == "resume")
        print(json.dumps({"seconds": time.time() - _STARTED, "gib": peak_gib(), **found}))
        return
    say = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="scale-") as temporary:
        folder = Path(temporary)
        found_all = [measure(rows, folder / str(rows), say) for rows in sorted(args.sizes)]
        store = in_process("--job", "store", cwd=folder)
    show(found_all, store)
    last = found_all[-1]
    figures: dict[str, object] = {
        "images": last["rows"],
        "start_seconds_5m": round(last["start"]["seconds"], 2),
        "start_gib_5m": round(last["start"]["gib"], 3),
        "resume_seconds_5m": round(last["resume"]["seconds"], 2),
        "resume_gib_5m": round(last["resume"]["gib"], 3),
        "store_bytes_a_key": round(store["bytes_a_key"], 1),
        "prepare_rows_a_second": round(last["rows"] / last["prepare"]["seconds"]),
        "prepare_gib": round(last["prepare"]["gib"], 3),
    }
    if len(found_all) > 1:
        a, b = found_all[-2:]
        figures["growth"] = round(
            math.log(b["prepare"]["seconds"] / a["prepare"]["seconds"])
            / math.log(b["rows"] / a["rows"]), 3,
        )  # fmt: skip
    finish(args.json, figures)


_STARTED = 0.0

if __name__ == "__main__":
    main()
