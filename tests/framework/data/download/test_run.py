"""A download as a user sees it: both formats, going on, taking failures up again, the command."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from engine.cli.main import app
from engine.data.download.run import DownloadProgress
from engine.data.download.settings import DownloadSettings
from engine.data.verify import verify
from engine.errors import DataError

from .conftest import QUICK, Lists, Request, Server, picture

TAR = replace(QUICK, format="webdataset", shard_size=4)


def serve(server: Server, lists: Lists, count: int = 10, missing: tuple[int, ...] = (3, 5)) -> None:
    for i in range(count):
        if i not in missing:
            server.answers[str(i)] = picture(i, (200, 100))
    lists.write({i: server.url(str(i)) for i in range(count)})


def test_files(server: Server, lists: Lists) -> None:
    serve(server, lists)
    report = lists.run().report
    assert report["images"] == {"listed": 10, "downloaded": 8, "failed": 2, "left": 0}
    rows = [json.loads(line) for line in (lists.out / "metadata.json").read_text().splitlines()]
    assert [row["image"] for row in rows] == [0, 1, 2, 4, 6, 7, 8, 9]
    assert rows[0] == {"image": 0, "queries": ["запрос 0"]}
    names = {path.name for path in lists.out.iterdir()}
    assert names == {
        "metadata.json",
        "images",
        "failed.json",
        "report.json",
        "state.sqlite",
    }
    for row in rows:
        with Image.open(lists.out / "images" / f"{row['image']}.jpg") as image:
            assert (image.format, image.size) == ("JPEG", (128, 64))


def test_webdataset(server: Server, lists: Lists) -> None:
    serve(server, lists)
    lists.run(TAR)
    shards = lists.out / "shards"
    assert sorted(path.name for path in shards.iterdir()) == [
        f"0000{i}.{kind}" for i in range(3) for kind in ("parquet", "tar")
    ]
    seen = []
    for i in range(3):
        table = parquet.read_table(shards / f"0000{i}.parquet").to_pylist()
        raw = (shards / f"0000{i}.tar").read_bytes()
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            members = tar.getmembers()
            assert [m.name for m in members] == [
                f"{row['id']}.{kind}" for row in table for kind in ("jpg", "json")
            ]
            assert {(m.mtime, m.uid, m.uname, m.mode) for m in members} == {(0, 0, "", 0o644)}
            for row, member in zip(table, members[1::2], strict=True):
                about = json.load(tar.extractfile(member))  # type: ignore[arg-type]
                assert about["queries"] == row["queries"] == [f"запрос {row['id']}"]
                assert about["url"] == row["url"] == server.url(row["id"])
        for row in table:
            data = raw[row["offset"] : row["offset"] + row["bytes"]]
            assert sha256(data).hexdigest() == row["sha256"]
            with Image.open(io.BytesIO(data)) as image:
                assert image.size == (row["width"], row["height"]) == (128, 64)
            seen.append(int(row["id"]))
    assert seen == [0, 1, 2, 4, 6, 7, 8, 9]


@pytest.mark.parametrize("settings", [QUICK, TAR])
def test_failures_are_taken_up_alone(
    server: Server, lists: Lists, tmp_path: Path, settings: DownloadSettings
) -> None:
    serve(server, lists)
    lists.run(settings)
    seen = server.seen.copy()
    lists.run(settings)  # nothing is left to do
    assert server.seen == seen
    server.answers["3"] = picture(3, (200, 100))
    report = lists.run(settings, retry_failed=True).report
    assert report["images"] == {"listed": 10, "downloaded": 9, "failed": 1, "left": 0}
    assert server.seen - seen == {"3": 1, "5": 1}
    assert verify(lists.out).whole
    at_once = Lists(tmp_path)
    at_once.out = tmp_path / "at once"
    at_once.run(settings)
    assert lists.content() == at_once.content()


def test_a_shard_without_images(server: Server, lists: Lists) -> None:
    serve(server, lists, missing=(4, 5, 6, 7))
    lists.run(TAR)
    assert sorted(path.name for path in (lists.out / "shards").iterdir()) == [
        "00000.parquet", "00000.tar", "00002.parquet", "00002.tar"
    ]  # fmt: skip
    assert verify(lists.out).whole


def test_originals_are_kept(server: Server, lists: Lists) -> None:
    server.answers |= {
        "1": picture(1, (300, 200)),
        "2": picture(2, (90, 80), "PNG"),
        "3": b"<html>",
    }
    lists.write({i: server.url(str(i)) for i in (1, 2, 3)})
    report = lists.run(replace(QUICK, keep_original=True)).report
    assert report["images"]["downloaded"] == 2
    for i in (1, 2):
        assert (lists.out / "images" / f"{i}.jpg").read_bytes() == server.answers[str(i)]
    assert verify(lists.out).whole


def test_another_folder_is_left_alone(server: Server, lists: Lists) -> None:
    serve(server, lists)
    lists.out.mkdir()
    (lists.out / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="no download was begun there"):
        lists.run()
    assert [path.name for path in lists.out.iterdir()] == ["thesis.txt"]


def test_other_choices_are_refused(server: Server, lists: Lists) -> None:
    serve(server, lists)
    lists.run()
    with pytest.raises(DataError, match="format: files before, webdataset now"):
        lists.run(TAR)


def test_progress_counts_reasons_and_hosts_while_it_runs(server: Server, lists: Lists) -> None:
    serve(server, lists, 60, tuple(range(0, 60, 4)))

    async def slow(request: Request) -> None:
        await request.send(picture(999))

    server.answers["1"] = slow
    seen: list[tuple[int, int, dict[str, int]]] = []

    def watch(progress: DownloadProgress) -> None:
        seen.append((progress.downloaded, progress.failed, dict(progress.kinds)))
        assert sum(progress.hosts.values()) == progress.failed

    lists.run(replace(QUICK, per_host=2), watch=watch, every=0.05)
    assert seen[-1] == (45, 15, {"HTTP 404": 15})
    assert seen == sorted(seen, key=lambda s: s[:2])


def test_hosts_in_memory_are_bounded() -> None:
    from engine.data.download.outcome import Failed, Refusal

    progress = DownloadProgress()
    for i in range(50_000):
        progress.count_failure(Failed(i, f"h{i}" if i % 3 else "worst", Refusal("x"), 1))
    assert len(progress.hosts) <= 2000
    assert progress.hosts.most_common(1) == [("worst", 16_667)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"size": 0}, "size"), ({"quality": 101}, "quality"), ({"format": "zip"}, "zip"),
     ({"user_agent": "a\nb"}, "user agent"), ({"user_agent": "a" * 2000}, "user agent"),
     ({"proxy": True}, "proxy"), ({"size": 10**30}, "size"), ({"shard_size": 1 << 63}, "shard"),
     ({"workers": 1_000_000}, "workers"), ({"workers": -1}, "work"), ({"retries": 10**9}, "retr"),
     ({"connections": 1 << 40}, "connections"), ({"per_host": 0}, "per_host"),
     ({"timeout": float("nan")}, "timeout"), ({"deadline": float("inf")}, "deadline"),
     ({"pause": -1.0}, "pause"), ({"max_pause": float("nan")}, "max_pause"),
     ({"max_bytes": 1 << 33}, "max_bytes"), ({"max_redirects": 10**20}, "max_redirects"),
     ({"min_rate": 10**30}, "min_rate"), ({"connect_timeout": 0.0}, "connect_timeout")],
)  # fmt: skip
def test_choices_that_are_none(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        DownloadSettings(**wrong)  # type: ignore[arg-type]


def test_the_command(server: Server, lists: Lists) -> None:
    serve(server, lists)
    paths = [str(lists.metadata), str(lists.images), str(lists.out)]
    options = ["--allow-private", "--workers", "1", "--retries", "0"]
    runner = CliRunner()
    done = runner.invoke(app, ["data", "download", *paths, *options, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["images"]["downloaded"] == 8
    assert report["failed_by_host"] == {"127.0.0.1": {"HTTP 404": 2}}
    done = runner.invoke(app, ["data", "download", *paths, *options])
    assert "HTTP 404 2" in done.stdout
    assert "--retry-failed" in done.stdout
    done = runner.invoke(app, ["data", "verify", str(lists.out)])
    assert done.exit_code == 0
    assert "8 rows, 8 images sound; nothing is wrong" in done.stdout
    (lists.out / "images" / "1.jpg").unlink()
    done = runner.invoke(app, ["data", "verify", str(lists.out), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["counts"] == {"row without image": 1}


def test_the_click_log_dataset_reads_both(server: Server, lists: Lists) -> None:
    """Through the registry, as a config would have it: the same rows, the same pictures."""
    from engine.core.registry import default_registry

    plugin = default_registry().get("dataset", "click_log")
    serve(server, lists)
    found = []
    for settings, name in ((QUICK, "files"), (TAR, "tars")):
        lists.out = lists.folder / name
        lists.run(settings)
        data = plugin.load()(plugin.load_settings().model_validate({"path": lists.out}))
        assert len(data) == 8
        found.append([(data.record(i), data.image(i).tobytes()) for i in range(8)])
    assert found[0] == found[1]
    assert found[0][2][0].queries == ("запрос 2",)


def test_what_a_terminal_shows() -> None:
    """Bar, counts, reasons and hosts, each on lines of its own."""
    from rich.console import Console

    from engine.cli.download import _line, _panel
    from engine.data.download.outcome import Failed, Refusal

    progress = DownloadProgress(images=100, downloaded=30, received=5_000_000, fresh=40)
    for i in range(10):
        progress.count_failure(
            Failed(i, f"host{i % 2}", Refusal("HTTP 404" if i else "timeout"), 1)
        )
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(_panel(progress))
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(shown) == 4
    assert "30 downloaded" in shown[1]
    assert "10 failed" in shown[1]
    assert "60 to go" in shown[1]
    assert "9  HTTP 404" in shown[2]
    assert "5  host0" in shown[2]
    assert "1  timeout" in shown[3]
    assert "40 of 100: 30 downloaded, 10 failed (HTTP 404 9, timeout 1)" in _line(progress)
