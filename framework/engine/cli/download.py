"""``engine data download`` and ``engine data verify``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from engine.cli.inputs import check_files
from engine.cli.options import Json
from engine.cli.progress import counting
from engine.core import terminal
from engine.core.progress import Progress

if TYPE_CHECKING:
    from engine.data.download.run import DownloadProgress


def download(
    metadata: Annotated[
        Path, typer.Argument(help='JSON lines {"image": 1, "queries": ["...", "..."]}.')
    ],
    images: Annotated[Path, typer.Argument(help='JSON lines {"image": 1, "url": "http://..."}.')],
    out: Annotated[Path, typer.Argument(help="Folder to write; the same command again goes on.")],
    format_: Annotated[
        Literal["files", "webdataset"],
        typer.Option("--format", help="images/<id>.jpg, or tar shards with parquet tables."),
    ] = "files",
    size: Annotated[
        int, typer.Option(min=1, help="Shorter side in pixels; nothing is ever made larger.")
    ] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEGs.")] = 90,
    keep_original: Annotated[
        bool, typer.Option("--keep-original", help="Keep the bytes as they came, once decoded.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Take up the images that failed before.")
    ] = False,
    shard_size: Annotated[int, typer.Option(min=1, help="Places of the list in a shard.")] = 10_000,
    connections: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 128,
    per_host: Annotated[int, typer.Option(min=1, help="Requests at once to one host.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Decoding processes (0: one a core).")] = 0,
    connect_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for a connection.")
    ] = 10.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one request.")] = 30.0,
    min_rate: Annotated[
        int, typer.Option(min=0, help="Bytes a second below which a body is too slow.")
    ] = 4000,
    deadline: Annotated[
        float, typer.Option(min=0.1, help="Seconds for one image, retries and pauses included.")
    ] = 90.0,
    retries: Annotated[int, typer.Option(min=0, help="Further tries of what may pass.")] = 2,
    max_bytes: Annotated[int, typer.Option(min=1, help="Most bytes of one image.")] = 30_000_000,
    user_agent: Annotated[
        str | None, typer.Option(help="What servers see (default names this tool).")
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option("--allow-private", help="Also connect to private and loopback addresses."),
    ] = False,
    verify_tls: Annotated[
        bool, typer.Option("--verify-tls/--no-verify-tls", help="Refuse invalid certificates.")
    ] = True,
    robots_tag: Annotated[
        bool,
        typer.Option("--robots-tag/--no-robots-tag", help="Honour X-Robots-Tag: noai, noindex."),
    ] = True,
    proxy: Annotated[
        bool, typer.Option("--proxy", help="Use the environment's proxies (with --allow-private).")
    ] = False,
    on: Annotated[
        Literal["here", "ray"], typer.Option(help="Where to work: `ray` takes a Ray cluster.")
    ] = "here",
    json: Json = False,
) -> None:
    """Download a click log's images with their queries; stops and goes on at any moment.

    Images that cannot be downloaded take their queries out of OUT/metadata.json; OUT/failed.json
    and OUT/report.json say which, how many and why. Exit code 130, 143 or 129 after Ctrl-C,
    SIGTERM or SIGHUP.
    """
    from engine.core.terminal import print_json
    from engine.data.download.run import download as run
    from engine.data.download.settings import USER_AGENT, DownloadSettings

    settings = DownloadSettings(
        format=format_,
        size=size,
        quality=quality,
        keep_original=keep_original,
        shard_size=shard_size,
        connections=connections,
        per_host=per_host,
        workers=workers,
        connect_timeout=connect_timeout,
        timeout=timeout,
        min_rate=min_rate,
        deadline=deadline,
        retries=retries,
        max_bytes=max_bytes,
        user_agent=USER_AGENT if user_agent is None else user_agent,
        allow_private=allow_private,
        verify_tls=verify_tls,
        robots_tag=robots_tag,
        proxy=proxy,
    )
    written = (out / name for name in ("metadata.json", "failed.json", "report.json"))
    check_files(written, [metadata, images])
    with _watching() as (watch, every, watch_lists):
        outcome = run(
            metadata,
            images,
            out,
            settings,
            retry_failed=retry_failed,
            on_ray=on == "ray",
            watch=watch,
            every=every,
            watch_lists=watch_lists,
        )
    if json:
        print_json(outcome.report)
    else:
        _tell(outcome.report, out)
    if outcome.signal is not None:
        typer.echo("stopped; the same command goes on with what is left", err=True)
        raise typer.Exit(128 + outcome.signal)


def verify(
    out: Annotated[Path, typer.Argument(help="A folder of training data, as configs name it.")],
    json: Json = False,
) -> None:
    """Look at every row and image: each decodes, each has the other, the counts agree.

    Exit code 1 if anything is wrong.
    """
    from dataclasses import asdict

    from engine.core.terminal import print_json
    from engine.data.verify import verify as look

    with counting(transient=True) as progress:
        verdict = look(out, progress)
    if json:
        print_json(
            {
                "out": str(out),
                "whole": verdict.whole,
                "format": verdict.format,
                "rows": verdict.rows,
                "images": verdict.images,
                "counts": dict(verdict.counts),
                "faults": [asdict(fault) for fault in verdict.faults],
            }
        )
    else:
        for fault in verdict.faults[:20]:
            typer.echo(f"{fault.kind}: {fault.where}{f': {fault.how}' if fault.how else ''}")
        if len(verdict.faults) > 20:
            typer.echo(f"... (--json lists {len(verdict.faults):,})")
        found = ", ".join(f"{count:,} x {kind}" for kind, count in verdict.counts.most_common())
        typer.echo(
            f"{out} ({verdict.format}): {verdict.rows:,} rows, {verdict.images:,} images sound; "
            + (found or "nothing is wrong")
        )
    if not verdict.whole:
        raise typer.Exit(1)


_Watchers = tuple[Callable[["DownloadProgress"], None], float, Progress]


@contextmanager
def _watching() -> Iterator[_Watchers]:
    """A live display on a terminal; elsewhere a line every ten seconds."""
    console = terminal.console(stderr=True)
    if not console.is_terminal:

        def say(progress: DownloadProgress) -> None:
            console.print(_line(progress), soft_wrap=True)

        said = [0.0]

        def say_lists(what: str, done: float = 0, total: float | None = None, /) -> None:
            if time.monotonic() - said[0] > 10:
                said[0] = time.monotonic()
                console.print(f"reading {what}: {done / (total or 1):.0%}", soft_wrap=True)

        yield say, 10.0, say_lists
        return

    from rich.live import Live

    with terminal.live(Live(console=console, refresh_per_second=4, transient=True)) as live:
        yield (
            lambda progress: live.update(_panel(progress)),
            0.5,
            lambda what, done=0, total=None, /: live.update(
                f"reading {what}: {done / (total or 1):.0%}"
            ),
        )


def _rates(progress: DownloadProgress) -> tuple[float, float, float]:
    """Images a second, megabytes a second, seconds left."""
    seconds = max(time.monotonic() - progress.started, 1e-3)
    rate = progress.fresh / seconds
    left = progress.images - progress.downloaded - progress.failed
    return rate, progress.received / seconds / 1e6, left / rate if rate else float("inf")


def _line(progress: DownloadProgress) -> str:
    rate, megabytes, left = _rates(progress)
    top = ", ".join(f"{kind} {count:,}" for kind, count in progress.kinds.most_common(3))
    return (
        f"{progress.downloaded + progress.failed:,} of {progress.images:,}:"
        f" {progress.downloaded:,} downloaded,"
        f" {progress.failed:,} failed{f' ({top})' if top else ''};"
        f" {rate:.0f} images/s, {megabytes:.1f} MB/s, {_clock(left)} left"
    )


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _panel(progress: DownloadProgress) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rate, megabytes, left = _rates(progress)
    ended = progress.downloaded + progress.failed
    facts = Table.grid(padding=(0, 3))
    facts.add_row(
        Text(f"{progress.downloaded:,} downloaded", "green"),
        Text(f"{progress.failed:,} failed", "red"),
        f"{progress.images - ended:,} to go",
        f"{rate:,.0f} images/s",
        f"{megabytes:,.1f} MB/s",
        f"{_clock(left)} left",
    )
    why = Table.grid(padding=(0, 3))
    reasons, hosts = progress.kinds.most_common(5), progress.hosts.most_common(5)
    for i in range(max(len(reasons), len(hosts))):
        cells = []
        for some in (reasons, hosts):
            name, count = some[i] if i < len(some) else ("", 0)
            cells.append(Text(f"{count:>8,}  {name[:48]}" if name else "", style="dim"))
        why.add_row(*cells)
    line = Table.grid()  # a bar by itself ends no line
    line.add_row(ProgressBar(total=max(1, progress.images), completed=ended, width=72))
    return Group(line, facts, why)


def _tell(report: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    from engine.cli.tables import stdout
    from engine.data.download.outcome import Cause

    images, queries = report["images"], report["queries"]
    table = Table(title=str(out), title_justify="left", title_style="bold")
    for column in ("", "images", "queries"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("in both lists", f"{images['listed']:,}", f"{queries['listed']:,}")
    table.add_row("downloaded", f"{images['downloaded']:,}", f"{queries['downloaded']:,}")
    table.add_row("failed", f"{images['failed']:,}", "")
    if images["left"]:
        table.add_row("left", f"{images['left']:,}", "")
    stdout().print(table)
    for name, counts in report["lists"].items():
        typer.echo(
            f"{name}: {counts['lines']:,} lines, {counts['bad']:,} bad,"
            f" {counts['only_in_this_list']:,} only in this list"
        )
    for title, found in (("why", report["failed_by_reason"]), ("hosts", _hosts(report))):
        if found:
            listed = ", ".join(f"{name} {count:,}" for name, count in list(found.items())[:8])
            typer.echo(f"{title}: {listed}{', ...' if len(found) > 8 else ''}")
    private = report["failed_by_reason"].get(Cause.PRIVATE, 0)
    if private:
        typer.echo(
            f"{private:,} addresses are private or of this machine, which are not connected to;"
            " --allow-private does, for a server of your own"
        )
    if images["failed"]:
        typer.echo(f"{out / 'failed.json'} lists them; --retry-failed takes just these up again")


def _hosts(report: dict[str, Any]) -> dict[str, int]:
    return {
        host or "(no host)": sum(kinds.values()) for host, kinds in report["failed_by_host"].items()
    }
