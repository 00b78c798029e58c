"""The loader against webdataset with torch's DataLoader: pictures a second, sides in turn.

WebDataset tars of the contest's sample, its photographs scaled to the size that the web has
(1200 x 900 by default), each with a text. Both sides shuffle, decode, scale the shorter side to 224
(bicubic), cut the centre out, normalise, and give batches of floats with texts; as many workers,
one thread of arithmetic. webdataset's side is open_clip's own pipeline and its transform, in an
environment of its own (``venvs/webdataset``, made at the first use).

What differs: Engine decodes a JPEG at a half, a quarter or an eighth where that leaves twice the
size that the tower takes, and scales the rest with SIMD (`draft: 2.0`; ``whole_ratio`` is without
both); its workers give bytes, normalised a batch at a time where the model computes. webdataset's
workers give floats. Texts are read from the tars on both sides and tokenised on neither.

    python benchmarks/loader.py --json

``ratio``: pictures a second, Engine's faster kind of ``train.readers`` over webdataset's, the
median of rounds; the aim is at least 1.5. ``cpu_ratio``: the same in seconds of the processor, of
all processes, which other work on the machine disturbs less. ``pixel_difference``: the largest
difference of the two sides' mean normalised pixel of one picture.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path
from typing import Any

from measure import ROOT, arguments, finish, median_ratio
from PIL import Image
from rich.console import Console
from rich.table import Table

SAMPLE = ROOT.parent / "shared" / "data" / "contest_sample"
PEER = ROOT / "venvs" / "webdataset"
PACKAGE = "webdataset==1.0.2"
SIDES = ("webdataset", "engine-threads", "engine-processes", "engine-threads, whole")


def peer_python() -> str:
    """Python of webdataset's environment, which sees this one's libraries."""
    found = PEER / "bin" / "python"
    if (PEER / "ready").exists():
        return str(found)
    Console(stderr=True).print("installing webdataset into venvs/webdataset", style="dim")
    venv.create(PEER, with_pip=True, clear=True)
    inside = next((PEER / "lib").glob("python*/site-packages"))
    (inside / "engine_libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [str(found), "-m", "pip", "install", "--quiet", "--constraint",
               str(ROOT / "constraints.txt"), PACKAGE]  # fmt: skip
    if subprocess.run(command).returncode:
        sys.exit("benchmark: webdataset cannot be installed; it needs a package index")
    (PEER / "ready").touch()
    return str(found)


def write_shards(folder: Path, count: int, long_side: int, shards: int = 8) -> None:
    """Photographs of the sample, scaled to one long side, with a text each."""
    photographs = sorted((SAMPLE / "caltech101" / "img").iterdir())[:count]
    if not photographs:
        sys.exit(f"benchmark: no photographs in {SAMPLE}")
    folder.mkdir()
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03d}.tar", "w") as tar:
            for number in range(shard, count, shards):
                image = Image.open(photographs[number % len(photographs)]).convert("RGB")
                if long_side:
                    scale = long_side / max(image.size)
                    size = (round(image.width * scale), round(image.height * scale))
                    image = image.resize(size, Image.Resampling.BICUBIC)
                file = io.BytesIO()
                image.save(file, "JPEG", quality=85)
                parts = (("jpg", file.getvalue()), ("txt", f"фото {number}".encode()))
                for kind, data in parts:
                    member = tarfile.TarInfo(f"{number:06d}.{kind}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))


def job(side: str, folder: Path, workers: int, batch: int, peer: str) -> dict[str, Any]:
    """An epoch in a process of its own."""
    kind, _, whole = side.partition(", ")
    python = peer if kind == "webdataset" else sys.executable
    command = [python, str(Path(__file__).with_name("loader_jobs.py")), kind, str(folder),
               str(workers), str(batch), "0" if whole else "2"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        sys.exit(f"benchmark: {side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--long-side", type=int, default=1200, help="0: as the photographs are")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    peer = peer_python()
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    costs: dict[str, list[float]] = {side: [] for side in SIDES}
    means: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        write_shards(folder, options.pictures, options.long_side)
        for _ in range(options.rounds):
            for side in SIDES:
                found = job(side, folder, options.workers, options.batch_size, peer)
                speeds[side].append(found["pictures"] / found["seconds"])
                costs[side].append(1000 * found["cpu"] / found["pictures"])
                means[side] = found["means"]
    table = Table(title=f"{options.pictures} photographs, long side {options.long_side or 'own'},"
                  f" {options.workers} workers")  # fmt: skip
    for name in ("loader", "pictures a second", "over webdataset", "CPU ms a picture"):
        table.add_column(name, justify="left" if name == "loader" else "right")
    ratios = {side: median_ratio(speeds[side], speeds["webdataset"]) for side in SIDES}
    for side in SIDES:
        table.add_row(side, f"{statistics.median(speeds[side]):.1f}", f"{ratios[side]:.2f}",
                      f"{statistics.median(costs[side]):.1f}")  # fmt: skip
    Console().print(table)
    best = max(ratios["engine-threads"], ratios["engine-processes"])
    finish(
        options.json,
        {
            "ratio": round(best, 3),
            "threads_ratio": round(ratios["engine-threads"], 3),
            "processes_ratio": round(ratios["engine-processes"], 3),
            "whole_ratio": round(ratios["engine-threads, whole"], 3),
            "images_a_second": round(statistics.median(speeds["engine-threads"]), 1),
            "webdataset_images_a_second": round(statistics.median(speeds["webdataset"]), 1),
            "cpu_ratio": round(median_ratio(costs["webdataset"], costs["engine-threads"]), 3),
            "pixel_difference": round(
                max(
                    abs(value - means["webdataset"][text])
                    for text, value in means["engine-threads"].items()
                    if text in means["webdataset"]
                ),
                4,
            ),
        },
    )


if __name__ == "__main__":
    main()
