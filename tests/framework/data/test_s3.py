"""S3 on loopback (moto's server, a process of the test): results written, shards read.

The server is looked for in ``venvs/moto`` (`python -m venv venvs/moto &&
venvs/moto/bin/pip install "moto[server]"`); it does not go with the project's own dateutil.
"""

from __future__ import annotations

import io
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from engine.data.store_folder import StoreFolder
from engine.errors import DataError
from engine_plugins.datasets.settings import ShardsSettings
from engine_plugins.datasets.shards import Shards

ROOT = Path(__file__).resolve().parents[3]
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


def moto() -> str | None:
    beside = ROOT / "venvs" / "moto" / "bin" / "moto_server"
    return str(beside) if beside.exists() else None


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of the server, with the bucket `engine`."""
    command = moto()
    if command is None:
        pytest.skip("moto_server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while True:
            try:
                request = urllib.request.Request(f"{address}/engine", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    pytest.skip("moto_server does not start")
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def credentials(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 18), (number * 9, 200, 40)).save(file, "JPEG")
    return file.getvalue()


def test_files_are_written_listed_and_read() -> None:
    place = StoreFolder("s3://engine/results/a")
    assert place.names() == set()
    assert place.files() == []
    place.write("x.bin", b"0123456789")
    place.write("y.bin", b"")
    assert place.names() == {"x.bin", "y.bin"}
    assert [(file.name, file.size) for file in place.files()] == [("x.bin", 10), ("y.bin", 0)]
    assert place.read("x.bin") == b"0123456789"
    assert place.read_range("x.bin", 3, 4) == b"3456"
    before = place.files()[0].version
    time.sleep(1.1)  # versions may be times in whole seconds
    place.write("x.bin", b"9876543210")
    assert place.files()[0].version != before
    with pytest.raises(DataError, match="nothing"):
        place.read("nothing")


def test_shards_are_read_from_the_store() -> None:
    place = StoreFolder("s3://engine/shards")
    for shard in range(2):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as tar:
            for number in range(4 * shard, 4 * shard + 4):
                for name, data in ((f"{number}.jpg", jpeg(number)),
                                   (f"{number}.txt", f"кот {number}".encode())):  # fmt: skip
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        place.write(f"{shard}.tar", file.getvalue())
    data = Shards(ShardsSettings(path="s3://engine/shards"))
    assert [data.record(row).queries[0] for row in range(8)] == [f"кот {row}" for row in range(8)]
    wanted = Image.open(io.BytesIO(jpeg(6))).convert("RGB")
    assert data.image(6).tobytes() == wanted.tobytes()
    assert Shards.fingerprint(data.settings) == Shards.fingerprint(data.settings)


def test_tables_are_read_from_the_store() -> None:
    place, file = StoreFolder("s3://engine/tables"), io.BytesIO()
    parquet.write_table(
        pa.table({"image": [jpeg(n) for n in range(5)], "text": [f"t{n}" for n in range(5)]}), file
    )
    place.write("0.parquet", file.getvalue())
    data = Shards(ShardsSettings(path="s3://engine/tables/*.parquet"))
    assert [data.record(row).queries for row in range(5)] == [(f"t{row}",) for row in range(5)]
    assert data.image(4).size == (24, 18)
