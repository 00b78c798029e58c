"""Real processes: ``kill -9``, Ctrl-C, SIGTERM, two at once, a full disk."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.data.verify import verify

from .conftest import Lists, Request, Server, picture

OPTIONS = ["--allow-private", "--workers", "2", "--retries", "0", "--size", "64", "--timeout", "20"]


def start(lists: Lists, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from engine.cli.main import run; run()", "data", "download"]
    paths = [str(lists.metadata), str(lists.images), str(lists.out)]
    return subprocess.Popen(
        [*command, *paths, *OPTIONS, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out + err


def serve_pictures(server: Server, count: int) -> dict[int, str]:
    """Every seventh is missing; each takes a moment."""

    def slowly(body: bytes) -> object:
        async def answer(request: Request) -> None:
            await asyncio.sleep(0.02)
            await request.send(body)

        return answer

    for i in range(count):
        if i % 7 != 3:
            server.answers[str(i)] = slowly(picture(i, (90, 70)))  # type: ignore[assignment]
    return {i: server.url(str(i)) for i in range(count)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "webdataset"])
def test_ten_kills(server: Server, tmp_path: Path, kind: str) -> None:
    urls = serve_pictures(server, 400)
    options = ["--format", kind, "--shard-size", "60", "--per-host", "4"]
    whole = Lists(tmp_path)
    whole.write(urls)
    whole.out = tmp_path / "whole"
    code, said = finish(start(whole, *options))
    assert code == 0, said
    chance = random.Random(kind)
    lists = Lists(tmp_path)
    kills = 0
    while kills < 10:
        shutil.rmtree(lists.out, ignore_errors=True)
        for _ in range(10):
            process = start(lists, *options)
            # Not before it is at work: a kill among imports shows nothing.
            until = time.monotonic() + 20
            while not (lists.out / "state.sqlite").exists() and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.8))
            if process.poll() is None:
                process.kill()
                kills += 1
            process.communicate(timeout=30)
        code, said = finish(start(lists, *options))
        assert code == 0, said
        assert lists.content() == whole.content()
    assert verify(lists.out).whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_in_order(
    server: Server, lists: Lists, number: signal.Signals, code: int
) -> None:
    lists.write(serve_pictures(server, 300))
    process = start(lists, "--per-host", "2")
    until = time.monotonic() + 30
    while sum(server.seen.values()) < 40 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(number)
    found, said = finish(process)
    assert found == code, said
    assert "the same command goes on" in said
    report = json.loads((lists.out / "report.json").read_text())
    assert 0 < report["images"]["left"] < 300
    rows = (lists.out / "metadata.json").read_text().splitlines()
    assert (
        len(rows) == report["images"]["downloaded"] == len(list((lists.out / "images").iterdir()))
    )
    assert verify(lists.out).counts == {"not finished": 1}
    before = server.seen.copy()
    assert finish(start(lists, "--per-host", "50"))[0] == 0
    assert verify(lists.out).whole
    # What was downloaded, or failed for good, was not asked for again.
    again = sum((server.seen - before).values())
    assert again == report["images"]["left"]


def test_two_at_once(server: Server, lists: Lists) -> None:
    lists.write(serve_pictures(server, 300))
    first = start(lists, "--per-host", "2")
    until = time.monotonic() + 30
    while not server.seen and time.monotonic() < until:
        time.sleep(0.02)
    code, said = finish(start(lists))
    assert code == 2
    assert "in use by another process" in said
    assert first.poll() is None
    first.kill()
    first.communicate(timeout=30)


def test_a_full_disk(server: Server, tmp_path: Path) -> None:
    """A real one of a megabyte; with room made, the same command goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        lists = Lists(tmp_path)
        lists.out = disk / "out"
        lists.write(serve_pictures(server, 500))
        options = ["--size", "90", "--quality", "100", "--per-host", "20"]
        code, said = finish(start(lists, *options))
        assert code == 2, said
        assert "goes on where it stopped" in said
        assert "Traceback" not in said
        remount = ["mount", "-o", "remount,size=40m", str(disk)]
        subprocess.run(remount, check=True, capture_output=True)
        code, said = finish(start(lists, *options))
        assert code == 0, said
        assert verify(lists.out).whole
        assert len(list((lists.out / "images").iterdir())) == sum(i % 7 != 3 for i in range(500))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_no_process_outlives_a_kill(server: Server, lists: Lists) -> None:
    lists.write(serve_pictures(server, 300))
    process = start(lists, "--per-host", "2")
    until = time.monotonic() + 30
    while not server.seen and time.monotonic() < until:
        time.sleep(0.02)
    children = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if _parent(path) == process.pid
    ]
    assert len(children) == 2
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 20
    while any(_alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(child) for child in children)


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_limit_on_file_sizes_is_reported(server: Server, lists: Lists) -> None:
    """Where a write fails for another reason than a full disk, it is reported as well."""
    lists.write(serve_pictures(server, 20))
    command = [
        sys.executable, "-c",
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from engine.cli.main import run; run()",
        "data", "download", str(lists.metadata), str(lists.images), str(lists.out), *OPTIONS,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr or "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
