"""Mutated shards, tables and tars, by seed: each is read, or refused in one line, in little memory.

In a process of its own, whose memory is limited: a crash of a library would end it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CHILD = r'''
import io, json, os, random, resource, shutil, sys, tarfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from PIL import Image
from pyarrow import compute, parquet

from engine.data.verify import verify
from engine.errors import BrokenImageError, DataError
from engine_plugins.datasets.click_log import ClickLog
from engine_plugins.datasets.settings import ClickLogSettings

home, count = Path(sys.argv[1]), int(sys.argv[2])


def make(folder, number):
    pictures = {}
    for n in range(6):
        buffer = io.BytesIO()
        Image.new("RGB", (9, 8), (40 * n, 9, 200)).save(buffer, "JPEG")
        pictures[str(10 * number + n)] = buffer.getvalue()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in pictures.items():
            for suffix, body in ((".jpg", data), (".json", b"{}")):
                info = tarfile.TarInfo(name + suffix)
                info.size = len(body)
                file.addfile(info, io.BytesIO(body))
    tar.seek(0)
    with tarfile.open(fileobj=tar) as file:
        offsets = [member.offset_data for member in file if member.name.endswith(".jpg")]
    table = io.BytesIO()
    columns = {
        "id": list(pictures), "offset": offsets, "bytes": [len(d) for d in pictures.values()],
        "sha256": [sha256(d).hexdigest() for d in pictures.values()],
        "queries": [["a", "b"]] * 6,
    }
    parquet.write_table(pa.table(columns), table, compression="zstd", row_group_size=4)
    return list(pictures), tar.getvalue(), table.getvalue()


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        kind = rng.randrange(8)
        tail = max(0, len(data) - 1200)  # a table's footer
        place = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(tail, len(data))
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            data[place : place + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"))
        elif kind == 3:
            data[place : place + 9] = b"\xff" * 9 + b"\1"  # a very large varint
        elif kind == 4:
            del data[place : place + rng.choice((1, 2, 16, 512))]
        elif kind == 5:
            data[place:place] = rng.randbytes(rng.choice((1, 4, 512)))
        elif kind == 6:
            other = rng.randrange(len(data))
            data[place : place + 16] = data[other : other + 16]
        else:
            del data[place:]
        if len(data) < 2:
            return bytes(2)
    return bytes(data)


def fresh(folder, parts):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards").mkdir(parents=True)
    lines = []
    for number, (ids, tar, table) in enumerate(parts):
        (folder / "shards" / f"{number:05d}.tar").write_bytes(tar)
        (folder / "shards" / f"{number:05d}.parquet").write_bytes(table)
        lines += [json.dumps({"image": i, "queries": ["q"]}) + "\n" for i in ids]
    (folder / "metadata.json").write_text("".join(lines))


def read(folder):
    """How the dataset and the verification end."""
    try:
        data = ClickLog(ClickLogSettings(path=folder))
        lost = 0
        for row in range(len(data)):
            try:
                data.image(row)
            except BrokenImageError:
                lost += 1
        one = "whole" if not lost else "images lost"
    except DataError as error:
        assert "\n" not in error.message, error.message
        one = "refused"
    verdict = verify(folder)
    assert all("\n" not in fault.how for fault in verdict.faults)
    return one, "whole" if verdict.whole else "faults"


parts = [make(home, number) for number in range(2)]
fresh(home / "d", parts)
assert read(home / "d") == ("whole", "whole")
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), -1))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ends = {}
for seed in range(count):
    rng = random.Random(seed)
    ids, tar, table = parts[0]
    which = seed % 3
    tar = mutated(tar, rng) if which == 1 else tar
    table = mutated(table, rng) if which != 1 else table
    fresh(home / "d", [(ids, tar, table), parts[1]])
    end = read(home / "d")
    ends[str(end)] = ends.get(str(end), 0) + 1
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
print(json.dumps({"ends": ends, "grown": grown}))
'''


def test_mutated_shards(tmp_path: Path) -> None:
    import json

    count = 240
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, tmp_path, str(count)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert sum(found["ends"].values()) == count
    assert found["grown"] < 300
    # Both ways of ending occur, so the mutations are neither harmless nor all the same.
    assert found["ends"]["('refused', 'faults')"] > count // 4
    assert len(found["ends"]) >= 2
