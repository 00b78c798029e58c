"""`engine data download` against img2dataset (latest): CPU and memory for the same pictures.

A server on loopback (its own work is not counted) has pictures of realistic sizes and a realistic
share of failures; both tools fetch the same URLs with the same limits and write WebDataset shards
of the same size and quality, their start-up included. CPU is that of all processes of a tool.
`cpu_ratio` is images per CPU-second, ours over theirs (target: at least 2), `memory_ratio` the peak
of theirs over ours (target: at least 1). `cpu_ratio_tls` and so on are the same over TLS, as most
of the web is, by fewer URLs.

`--memory` measures something else: the peak of a download of 1,000 pictures from a list of 5
million lines against the same from 50,000 (`list_memory_ratio`; target: about 1).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from download_server import urls
from measure import ROOT, arguments, engine_command, finish, median_ratio
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
PEER = ROOT / "venvs" / "img2dataset"
SIZE, QUALITY, TIMEOUT = 256, 90, 5


@dataclass(frozen=True)
class Run:
    """Images had, and what they took."""

    images: int
    seconds: float
    cpu: float
    peak_mb: float


def peer_command() -> str:
    """img2dataset in a virtual environment of its own, installed at the first use."""
    command = PEER / "bin" / "img2dataset"
    if not command.exists():
        venv.create(PEER, with_pip=True, clear=True)
        pip = [str(PEER / "bin" / "python"), "-m", "pip", "install", "--quiet", "img2dataset"]
        if subprocess.run(pip).returncode:
            sys.exit("benchmark: img2dataset cannot be installed; it needs a package index")
    return str(command)


def measured(command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Run a command with everything it starts."""
    wrapper = [sys.executable, str(HERE / "process_tree.py"), *command]
    done = subprocess.run(
        wrapper, capture_output=True, text=True, env=env, cwd=tempfile.gettempdir()
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["code"]:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{found['errors']}")
    return found


@contextlib.contextmanager
def serving(tls: Path | None) -> Iterator[int]:
    """The server as a process of its own; gives its port."""
    command = [sys.executable, str(HERE / "download_server.py"), "3600"]
    process = subprocess.Popen(
        command + ([str(tls)] if tls else []),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[0])
    finally:
        process.kill()
        process.wait()


def make_certificate(folder: Path) -> Path:
    """A certificate for the loopback addresses, and a bundle with it beside the usual ones."""
    names = ",".join(f"IP:127.0.0.{i}" for i in range(1, 60))
    pem = folder / "server.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=loopback", "-addext", f"subjectAltName={names}",
        "-keyout", str(folder / "key.pem"), "-out", str(pem),
    ]  # fmt: skip
    if subprocess.run(command, capture_output=True).returncode:
        sys.exit(
            "benchmark: TLS needs the `openssl` command to make a certificate (or --tls-count 0)"
        )
    usual = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    known = usual.read_text() if usual.is_file() else ""
    (folder / "bundle.pem").write_text(known + pem.read_text())
    pem.write_text(pem.read_text() + (folder / "key.pem").read_text())
    return pem


def write_lists(folder: Path, count: int, port: int, tls: bool) -> None:
    """The contest's two lists for us, one list of URLs with captions for img2dataset."""
    with (
        (folder / "metadata.json").open("w") as metadata,
        (folder / "images.json").open("w") as images,
        (folder / "list.jsonl").open("w") as both,
    ):
        for number, url in enumerate(urls(count, port)):
            url = url.replace("http:", "https:") if tls else url
            caption = f"красный дом номер {number}"
            metadata.write(json.dumps({"image": number, "queries": [caption]}) + "\n")
            images.write(json.dumps({"image": number, "url": url}) + "\n")
            both.write(json.dumps({"url": url, "caption": caption}) + "\n")


def ours(folder: Path, out: Path, env: dict[str, str]) -> Run:
    """One run of Engine."""
    command = [
        engine_command(), "data", "download", str(folder / "metadata.json"),
        str(folder / "images.json"), str(out), "--format", "webdataset",
        "--size", str(SIZE), "--quality", str(QUALITY),
        "--shard-size", "1000", "--retries", "0", "--timeout", str(TIMEOUT), "--connections", "128",
        "--workers", "2", "--allow-private",
    ]  # fmt: skip
    found = measured(command, env)
    images = json.loads((out / "report.json").read_text())["images"]["downloaded"]
    return Run(images, found["seconds"], found["cpu"], found["peak_mb"])


def theirs(folder: Path, out: Path, env: dict[str, str]) -> Run:
    """One run of img2dataset, with the threads its README advises."""
    command = [
        peer_command(), f"--url_list={folder / 'list.jsonl'}", "--input_format=jsonl",
        "--url_col=url", "--caption_col=caption", f"--output_folder={out}",
        "--output_format=webdataset",
        f"--image_size={SIZE}", "--resize_mode=keep_ratio", "--resize_only_if_bigger=True",
        f"--encode_quality={QUALITY}", "--number_sample_per_shard=1000", "--processes_count=2",
        "--thread_count=64", f"--timeout={TIMEOUT}", "--retries=0", "--enable_wandb=False",
    ]  # fmt: skip
    found = measured(command, {**env, "NO_ALBUMENTATIONS_UPDATE": "1"})
    images = sum(json.loads(p.read_text())["successes"] for p in out.glob("*_stats.json"))
    return Run(images, found["seconds"], found["cpu"], found["peak_mb"])


def compare(count: int, rounds: int, https: bool) -> dict[str, object]:
    """Both tools in turn; prints a table, gives the figures."""
    peer_command()
    runs: dict[str, list[Run]] = {"img2dataset": [], "Engine": []}
    with tempfile.TemporaryDirectory(prefix="download-") as name:
        folder = Path(name)
        tls = make_certificate(folder) if https else None
        env = dict(os.environ)
        if tls:
            env["SSL_CERT_FILE"] = str(folder / "bundle.pem")
        with serving(tls) as port:
            write_lists(folder, count, port, https)
            for round_ in range(rounds):
                for tool, run in (("img2dataset", theirs), ("Engine", ours)):
                    with tempfile.TemporaryDirectory(prefix="out-", dir=folder) as out:
                        runs[tool].append(run(folder, Path(out), env))
                print(f"round {round_ + 1} of {rounds} done", file=sys.stderr)
    table = Table(title=f"{count:,} URLs{' over TLS' if https else ''}, medians of {rounds} rounds")
    for column in (
        "",
        "images",
        "wall s",
        "CPU s",
        "CPU ms an image",
        "images per CPU s",
        "peak MB",
    ):
        table.add_column(column, justify="right" if column else "left")
    for tool, found in runs.items():
        cpu = statistics.median(run.cpu for run in found)
        images = found[0].images
        table.add_row(
            tool, f"{images:,}", f"{statistics.median(run.seconds for run in found):.1f}",
            f"{cpu:.1f}", f"{cpu / count * 1e3:.2f}", f"{images / cpu:.0f}",
            f"{statistics.median(run.peak_mb for run in found):.0f}",
        )  # fmt: skip
    Console().print(table)
    a, b = runs["Engine"], runs["img2dataset"]
    return {
        "cpu_ratio": median_ratio([r.images / r.cpu for r in a], [r.images / r.cpu for r in b]),
        "memory_ratio": median_ratio([r.peak_mb for r in b], [r.peak_mb for r in a]),
        "wall_ratio": median_ratio([r.seconds for r in b], [r.seconds for r in a]),
        "images": a[0].images,
        "images_peer": b[0].images,
    }


def list_memory(lengths: tuple[int, ...], fetched: int) -> dict[str, object]:
    """Peaks of downloads from lists of several lengths, stopped after so many pictures."""
    peaks: dict[int, float] = {}
    table = Table(title=f"{fetched:,} pictures fetched from lists of several lengths")
    for column in ("lines", "seconds", "peak MB"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory(prefix="download-") as name, serving(None) as port:
        folder = Path(name)
        for length in lengths:
            write_lists(folder, length, port, False)
            out = folder / f"out{length}"
            command = [
                sys.executable, str(HERE / "download.py"), "--stop-after", str(fetched),
                str(folder / "metadata.json"), str(folder / "images.json"), str(out),
            ]  # fmt: skip
            found = measured(command, dict(os.environ))
            peaks[length] = found["peak_mb"]
            table.add_row(f"{length:,}", f"{found['seconds']:.0f}", f"{peaks[length]:.0f}")
    Console().print(table)
    return {
        "list_memory_ratio": peaks[lengths[-1]] / peaks[lengths[0]],
        "peak_mb": {str(length): peak for length, peak in peaks.items()},
    }


def stop_after(fetched: int, metadata: Path, images: Path, out: Path) -> None:
    """A download that stops as if by a user after so many results."""
    from engine.data.download.run import DownloadProgress, download
    from engine.data.download.settings import DownloadSettings

    asked = False

    def watch(progress: DownloadProgress) -> None:
        nonlocal asked
        if progress.fresh >= fetched and not asked:
            asked = True
            signal.raise_signal(signal.SIGTERM)

    settings = DownloadSettings(allow_private=True, workers=2, retries=0, timeout=TIMEOUT)
    download(metadata, images, out, settings, watch=watch, every=0.05)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.set_defaults(rounds=3)
    parser.add_argument("--count", type=int, default=5000, help="URLs (5000)")
    parser.add_argument("--tls-count", type=int, default=1000, help="URLs over TLS (1000; 0: none)")
    parser.add_argument("--memory", action="store_true", help="memory against the list's length")
    parser.add_argument("--lines", type=int, default=5_000_000, help="of --memory's long list")
    parser.add_argument("--stop-after", type=int, help="(what --memory runs)")
    parser.add_argument("paths", nargs="*", type=Path, help="(what --memory runs)")
    options = parser.parse_args()
    if options.stop_after:
        stop_after(options.stop_after, *options.paths)
        return
    began = time.perf_counter()
    if options.memory:
        figures = list_memory((min(50_000, options.lines // 10), options.lines), 1000)
    else:
        figures = compare(options.count, options.rounds, https=False)
        if options.tls_count:
            over_tls = compare(options.tls_count, 1, https=True)
            figures |= {f"{key}_tls": value for key, value in over_tls.items()}
    print(f"{time.perf_counter() - began:.0f} s in all", file=sys.stderr)
    finish(options.json, figures)


if __name__ == "__main__":
    main()
