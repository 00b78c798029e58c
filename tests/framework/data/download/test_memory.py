"""Memory does not grow with the list: peaks of whole processes, over lists of two lengths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Server, picture

SCRIPT = """
import resource, signal, sys
from pathlib import Path
from engine.data.download.run import DownloadProgress, download
from engine.data.download.settings import DownloadSettings

stopped = []

def watch(progress):
    if progress.fresh > 300 and not stopped:
        stopped.append(True)
        signal.raise_signal(signal.SIGTERM)

folder = Path(sys.argv[1])
settings = DownloadSettings(allow_private=True, workers=1, per_host=8, shard_size=2000)
outcome = download(
    folder / "metadata.json", folder / "images.json", folder / "out", settings,
    watch=watch, every=0.02,
)
assert outcome.signal and outcome.report["images"]["downloaded"] > 300
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder: Path, server: Server, lines: int) -> int:
    """Kilobytes: a list of so many lines, some hundreds fetched, stopped."""
    folder.mkdir()
    with (
        (folder / "metadata.json").open("w") as metadata,
        (folder / "images.json").open("w") as images,
    ):
        for i in range(lines):
            # In another order than the URLs, so that the join has to look up.
            row = {"image": i * 7919 % lines, "queries": ["красивый дом у моря", "дом"]}
            metadata.write(json.dumps(row) + "\n")
            images.write(json.dumps({"image": i, "url": server.url("x")}) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_ten_times_the_list_takes_no_more_memory(server: Server, tmp_path: Path) -> None:
    server.answers["x"] = picture()
    small = peak(tmp_path / "small", server, 20_000)
    large = peak(tmp_path / "large", server, 200_000)
    assert large < small + 20_000
