"""Own code beside the library that could stand in its place, for `docs/decisions/`.

    python benchmarks/libraries.py [--only spool] [--json]

Five comparisons, each in turn within one run: the downloader's spool and SQLite; near duplicates
and datasketch (left out where it is not installed); lazy exports and lazy_loader; Student's t and
scipy.special; gradients of two processes in one piece and tensor by tensor.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from measure import arguments, finish
from rich.console import Console
from rich.table import Table

RECORDS, SIZE = 5_000, 20_000
TEXTS = 5_000
Figures = dict[str, float]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _timed(call: Callable[[], object]) -> float:
    before = _cpu()
    call()
    return _cpu() - before


def spool(rounds: int) -> Figures:
    """CPU seconds to append pictures of 20 kB to one shard and to read all of them back."""
    from engine.data.download.spool import Spool, Spooled

    picture = random.Random(0).randbytes(SIZE)
    digest = hashlib.sha256(picture).digest()
    appended: tuple[list[float], list[float]] = ([], [])
    read: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            own = Spool(Path(name))

            def append(own: Spool = own) -> None:
                for position in range(RECORDS):
                    own.append(0, position, picture)

            appended[0].append(_timed(append))

            def read_back(own: Spool = own) -> None:
                with Spooled(own, 0) as found:
                    for position in range(RECORDS):
                        found.read(position, digest)

            read[0].append(_timed(read_back))
            own.close()
        with tempfile.TemporaryDirectory() as name:
            table = sqlite3.connect(Path(name) / "spool", isolation_level=None)
            table.execute("pragma journal_mode=wal")
            table.execute("pragma synchronous=off")
            table.execute("create table jpeg (position integer primary key, data blob)")

            def insert(table: sqlite3.Connection = table) -> None:
                # Each picture is with the system when it counts as downloaded, as in the spool.
                for position in range(RECORDS):
                    table.execute("insert into jpeg values (?, ?)", (position, picture))

            appended[1].append(_timed(insert))

            def select(table: sqlite3.Connection = table) -> None:
                for position in range(RECORDS):
                    row = table.execute(
                        "select data from jpeg where position = ?", (position,)
                    ).fetchone()
                    assert hashlib.sha256(row[0]).digest() == digest

            read[1].append(_timed(select))
            table.close()
    return {
        "spool_append_us": 1e6 * min(appended[0]) / RECORDS,
        "sqlite_append_us": 1e6 * min(appended[1]) / RECORDS,
        "spool_read_us": 1e6 * min(read[0]) / RECORDS,
        "sqlite_read_us": 1e6 * min(read[1]) / RECORDS,
    }


def _queries(count: int) -> list[list[str]]:
    chance = random.Random(0)
    words = [
        "".join(chance.choices("абвгдеиклмнопрст", k=chance.randint(3, 9))) for _ in range(4000)
    ]
    found = [chance.choices(words, k=chance.randint(3, 8)) for _ in range(count // 2)]
    # A half repeats the others with one word more: near duplicates of many degrees.
    return found + [[*text, chance.choice(words)] for text in found]


def minhash(rounds: int) -> Figures:
    """CPU microseconds a text to make what proposes near duplicates, 32 minima each."""
    import numpy as np

    from engine.data.text.minhash import BAND_ROWS, BANDS, bands, shingles

    texts = _queries(TEXTS)
    numbers = np.arange(len(texts), dtype=np.uint64)
    own = min(_timed(lambda: bands(texts, numbers)) for _ in range(rounds))
    figures = {"own_minhash_us": 1e6 * own / len(texts)}
    if importlib.util.find_spec("datasketch") is None:
        return figures
    from datasketch import MinHash

    sets = [[gram.encode() for gram in shingles(words)] for words in texts]

    def theirs() -> None:
        for _ in MinHash.generator(sets, num_perm=BANDS * BAND_ROWS):
            pass

    figures["datasketch_us"] = 1e6 * min(_timed(theirs) for _ in range(rounds)) / len(texts)
    return figures


def _import_ms(module: str, rounds: int, before: str = "") -> float:
    """CPU milliseconds of one import in a fresh process, the smallest of several."""
    program = (
        f"import time{before}; start = time.process_time(); import {module};"
        " print(time.process_time() - start)"
    )
    command = [sys.executable, "-c", program]
    found = [float(subprocess.check_output(command, text=True)) for _ in range(max(rounds, 9))]
    return 1e3 * min(found)


def lazy(rounds: int) -> Figures:
    """CPU milliseconds of `import engine`, whose names are lazy, and of the library alone."""
    return {
        "import_engine_ms": _import_ms("engine", rounds),
        "import_lazy_loader_ms": _import_ms("lazy_loader", rounds),
    }


def special(rounds: int) -> Figures:
    """CPU milliseconds that scipy.special adds to numpy; the largest relative error of our own."""
    from scipy.special import stdtr

    from engine.evaluate.statistics import student

    worst = 0.0
    for freedom in (1, 2, 5, 30, 1000):
        for t in (0.01, 0.5, 2.0, 5.0, 20.0):
            theirs = 2 * float(stdtr(freedom, -t))
            worst = max(worst, abs(student(t, freedom) - theirs) / theirs)
    return {
        "scipy_special_ms": _import_ms("scipy.special", rounds, ", numpy"),
        "worst_relative_error": worst,
    }


def _reduce(rank: int, store: str, rounds: int, out: str) -> None:
    import torch
    import torch.distributed as dist
    from torch import nn

    from engine.train.distribution import Processes
    from engine.train.reducer import Reduced, Reducer

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = nn.Sequential(*(nn.Linear(256, 256) for _ in range(24)))
    parameters = list(model.parameters())
    processes = Processes()
    processes.start(torch.device("cpu"))
    reducer = Reducer(processes, Reduced(parameters), overlap=False)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds * 5):
        for way in (0, 1):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            dist.barrier()
            before = time.perf_counter()
            if way == 0:
                reducer.begin()
                reducer.finish()
            else:
                for parameter in parameters:
                    dist.all_reduce(parameter.grad)
            times[way].append(time.perf_counter() - before)
    if rank == 0:
        Path(out).write_text(f"{min(times[0])} {min(times[1])}")
    dist.destroy_process_group()


def reduce(rounds: int) -> Figures:
    """Milliseconds to sum 1.6 million gradients of 48 tensors over two processes, with gloo."""
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        mp.spawn(_reduce, (str(Path(name) / "store"), rounds, str(out)), nprocs=2)
        one, each = map(float, out.read_text().split())
    return {"one_piece_ms": 1e3 * one, "each_tensor_ms": 1e3 * each}


PARTS: dict[str, Callable[[int], Figures]] = {
    "spool": spool, "minhash": minhash, "lazy": lazy, "special": special, "reduce": reduce,
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=sorted(PARTS), help="one comparison alone")
    options = parser.parse_args()
    chosen: Sequence[str] = [options.only] if options.only else list(PARTS)
    figures: Figures = {}
    for name in chosen:
        figures |= PARTS[name](options.rounds)
    table = Table(title="own code beside libraries")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:.3g}")
    Console().print(table)
    finish(options.json, dict(figures))


if __name__ == "__main__":
    main()
