"""The activation cache: Engine's store against its former one, LMDB and SQLite.

Each store is filled in batches of 1,024 new random keys and read in batches of 1,024 random ones,
as training does, with records of three sorts: empty ones (the index alone), vectors of 768 float32,
and blocks of 4 to 15 tokens of 768 float32. Every figure comes from a process of its own, the
stores in turn. Then readers beside a writer, and damage: the files of a store are cut before or
after it is opened, or noise is written into them, and a process of its own reads all that is left.

Targets: index_bytes at most 64 a key, on disk, mapped or resident; open_ratio (seconds to open ten
times as many keys) at most 2; deaths 0; wrong 0. read_ratio and write_ratio: of the former store's
seconds, vectors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from activation_cache_stores import STORES, Store
from measure import arguments, finish
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

BATCH = 1024
now = time.process_time if os.environ.get("CLOCK") == "cpu" else time.perf_counter
WIDTH = 768 * 4
SORTS = ("index", "vectors", "tokens")


def key_of(number: int) -> bytes:
    """16 bytes, spread evenly."""
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16).digest()


def content_of(sort: str, number: int, noise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What is stored under a number's key."""
    if sort == "index":
        return noise[:0]
    size = WIDTH if sort == "vectors" else WIDTH * (4 + number % 12)
    start = number % 1000
    return noise[start : start + size]


def fill(store: Store, sort: str, first: int, stop: int) -> list[float]:
    """Seconds of each batch."""
    noise = np.random.default_rng(0).integers(0, 256, 1000 + 15 * WIDTH, dtype=np.uint8)
    seconds = []
    for start in range(first, stop, BATCH):
        items = {
            key_of(n): content_of(sort, n, noise) for n in range(start, min(start + BATCH, stop))
        }
        started = now()
        store.write(items)
        seconds.append(now() - started)
    return seconds


def batches(count: int, number: int, seed: int) -> Iterator[list[bytes]]:
    """Keys drawn at random from those that the store holds."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        yield [key_of(n) for n in dict.fromkeys(rng.integers(0, count, BATCH).tolist())]


def memory() -> tuple[int, int]:
    """Bytes of this process that are its own, and of files mapped into it."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))  # type: ignore[return-value]


# ---- jobs, each a process of its own -----------------------------------------------------------


def job_fill(name: str, folder: str, sort: str, count: int) -> dict[str, float]:
    """Fill a new store."""
    store = STORES[name](Path(folder))
    seconds = fill(store, sort, 0, count)
    store.close()
    files = [path for path in Path(folder).iterdir() if path.is_file()]
    return {
        "write": statistics.median(seconds[-20:]),
        "disk": sum(path.stat().st_blocks * 512 for path in files),
    }


def job_read(name: str, folder: str, sort: str, count: int) -> dict[str, float]:
    """Open a store and read; memory is that of an open store before anything is read."""
    STORES[name](Path(folder) / "warm").close()  # imports, allocators
    before = memory()
    started = now()
    store = STORES[name](Path(folder))
    store.read([key_of(0)])
    opened = now() - started
    after = memory()
    seconds = []
    for keys in batches(count, 40 if sort == "vectors" else 15, 1):
        started = now()
        found = store.read(keys)
        seconds.append(now() - started)
        assert len(found) == len(keys)
        del found
    return {
        "open": opened,
        "own": after[0] - before[0],
        "mapped": memory()[1] - before[1],
        "read": statistics.median(seconds),
    }


def job_beside(name: str, folder: str, seconds: float, seed: int) -> dict[str, float]:
    """Read for some seconds (seed above 0), or write new vectors (0)."""
    store = STORES[name](Path(folder))
    done, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        if seed:
            (keys,) = batches(10 * BATCH, 1, seed + done)
            store.read(keys)
        else:
            fill(store, "vectors", (20 + done) * BATCH, (21 + done) * BATCH)
        done += 1
    return {"batches": done}


def job_check(name: str, folder: str, sort: str, count: int) -> dict[str, float]:
    """Read all; how many are whole, and how many wrong. ``cut``: in files cut after opening."""
    noise = np.random.default_rng(0).integers(0, 256, 1000 + 15 * WIDTH, dtype=np.uint8)
    store = STORES[name](Path(folder))
    if sort == "cut":
        sort = "vectors"
        store.read([key_of(n) for n in range(BATCH)])
        for path in Path(folder).iterdir():
            os.truncate(path, path.stat().st_size * 2 // 3)
    whole = wrong = 0
    for start in range(0, count, BATCH):
        numbers = {key_of(n): n for n in range(start, min(start + BATCH, count))}
        for key, item in store.read(numbers).items():
            right = np.array_equal(item, content_of(sort, numbers[key], noise))
            whole, wrong = whole + right, wrong + (not right)
    return {"whole": whole, "wrong": wrong}


JOBS = {"fill": job_fill, "read": job_read, "beside": job_beside, "check": job_check}


def start(job: str, *parameters: object) -> subprocess.Popen[str]:
    """Start a job's process."""
    command = [sys.executable, __file__, "--job", job, *map(str, parameters)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def result(process: subprocess.Popen[str]) -> dict[str, float] | int:
    """What a job found, or how it ended."""
    output, _ = process.communicate()
    if process.returncode or not output.strip():
        return process.returncode or 1
    found: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return found


# ---- measurements ------------------------------------------------------------------------------


def measure(name: str, folder: Path, sort: str, count: int) -> dict[str, float]:
    """Fill and read one store."""
    shutil.rmtree(folder, ignore_errors=True)
    filled = result(start("fill", name, folder, sort, count))
    read = result(start("read", name, folder, sort, count))
    assert isinstance(filled, dict), f"{name}: filling ended with {filled}"
    assert isinstance(read, dict), f"{name}: reading ended with {read}"
    return {**filled, **read}


def payload(sort: str, count: int) -> int:
    """Bytes of the records' contents."""
    noise = np.empty(1000 + 15 * WIDTH, np.uint8)
    return sum(len(content_of(sort, n, noise)) for n in range(count))


def beside(name: str, folder: Path, seconds: float = 4.0) -> dict[str, float]:
    """Batches a second of three readers and of a writer, at once."""
    result(start("fill", name, folder, "vectors", 10 * BATCH))
    found = [result(p) for p in [start("beside", name, folder, seconds, n) for n in range(4)]]
    counts = [each["batches"] if isinstance(each, dict) else float("nan") for each in found]
    return {"writer": counts[0] / seconds, "readers": sum(counts[1:]) / seconds}


def damage(name: str, folder: Path, rounds: int) -> dict[str, int]:
    """Cut files or write noise into them; how the process that then reads all ends."""
    count = 4 * BATCH
    result(start("fill", name, folder, "vectors", count))
    rng = np.random.default_rng(0)
    ends = {"deaths": 0, "errors": 0, "wrong": 0, "whole": 0}
    for number in range(rounds):
        copy = folder.with_name("damaged")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        files = sorted(path for path in copy.iterdir() if path.stat().st_size > 1000)
        path = files[number % len(files)]
        size = path.stat().st_size
        if number % 3 == 1:
            os.truncate(path, int(size * rng.random()))
        elif number % 3 == 2:
            with path.open("r+b") as file:
                file.seek(int(size * rng.random() * (1 if number % 2 else 0.02)))
                file.write(rng.bytes(400))
        how = "vectors" if number % 3 else "cut"
        found = result(start("check", name, copy, how, count))
        if isinstance(found, dict):
            ends["wrong"] += int(found["wrong"] > 0)
            ends["whole"] += 1
        else:
            ends["deaths" if found < 0 and found != -signal.SIGINT else "errors"] += 1
    return ends


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the index alone (10^6)")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--stores", nargs="*", default=list(STORES), choices=list(STORES))
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu: seconds of the processes, for a machine that does other work",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="for the stores, by default a temporary one")
    options = parser.parse_args()
    os.environ["CLOCK"] = options.clock
    counts = {"index": options.keys, "vectors": options.vectors, "tokens": options.tokens}
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        root = Path(temporary)
        for name in options.stores:
            found: dict[str, Any] = {}
            for sort in SORTS:
                found[sort] = measure(name, root / "store", sort, counts[sort])
                found[sort]["more"] = found[sort]["disk"] - payload(sort, counts[sort])
            found["few"] = measure(name, root / "store", "index", counts["index"] // 10)
            shutil.rmtree(root / "store")
            found["beside"] = beside(name, root / "store")
            shutil.rmtree(root / "store")
            found["damage"] = damage(name, root / "store", 6 * options.rounds)
            shutil.rmtree(root / "store")
            figures[name] = found
            show(figures, counts)
    ours, former = figures.get("engine"), figures.get("former")
    if ours is None:
        return
    index, few = ours["index"], ours["few"]
    keys = counts["index"]
    line = {
        # A record's head of 24 bytes is data, not index.
        "index_bytes": (index["more"] - 24 * keys + max(index["own"], 0) + index["mapped"]) / keys,
        "open_ratio": index["open"] / few["open"],
        "deaths": ours["damage"]["deaths"] + ours["damage"]["errors"],
        "wrong": ours["damage"]["wrong"],
    }
    if former is not None:
        line |= {f"{what}_ratio": ours["vectors"][what] / former["vectors"][what]
                 for what in ("read", "write")}  # fmt: skip
    finish(options.json, {**line, "figures": figures})


def show(figures: dict[str, dict[str, Any]], counts: dict[str, int]) -> None:
    """The table so far."""
    table = Table(title=", ".join(f"{count:,} {sort}" for sort, count in counts.items()))
    for column in ("", *figures):
        table.add_column(column, justify="right" if column else "left")

    def row(title: str, one: Any) -> None:
        table.add_row(title, *(one(each) for each in figures.values()))

    keys = counts["index"]
    row("opened, ms", lambda f: f"{1000 * f['index']['open']:,.1f}")
    row("memory of a key, bytes", lambda f: f"{max(f['index']['own'], 0) / keys:,.0f}")
    row("mapped of a key, bytes", lambda f: f"{f['index']['mapped'] / keys:,.0f}")
    for sort in SORTS:
        row(f"{sort}: disk of a key beside its content, bytes",
            lambda f, s=sort: f"{f[s]['more'] / counts[s]:,.0f}")  # fmt: skip
        row(f"{sort}: 1,024 written, ms", lambda f, s=sort: f"{1000 * f[s]['write']:,.1f}")
        row(f"{sort}: 1,024 read, ms", lambda f, s=sort: f"{1000 * f[s]['read']:,.1f}")
    row("batches a second, three readers", lambda f: f"{f['beside']['readers']:,.0f}")
    row("batches a second, writer beside them", lambda f: f"{f['beside']['writer']:,.0f}")
    row("damage: processes ended by a signal", lambda f: str(f["damage"]["deaths"]))
    row("damage: processes ended by an error", lambda f: str(f["damage"]["errors"]))
    row("damage: wrong contents", lambda f: str(f["damage"]["wrong"]))
    row("damage: read to the end", lambda f: str(f["damage"]["whole"]))
    Console(width=120).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        job, name, folder, third, fourth = sys.argv[2:]
        if job == "beside":
            print(json.dumps(job_beside(name, folder, float(third), int(fourth))))
        else:
            print(json.dumps(JOBS[job](name, folder, third, int(fourth))))  # type: ignore[operator]
    else:
        main()
