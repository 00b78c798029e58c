"""The benchmark of large data runs at small sizes and names its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_it_gives_the_named_figures(root: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, root / "benchmarks" / "scale.py", "--sizes", "300", "600", "--folder",
         tmp_path, "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    for name in ("start_seconds_5m", "start_gib_5m", "resume_seconds_5m", "growth"):
        assert isinstance(figures[name], float), name
    assert 0 < figures["store_bytes_a_key"] <= 64
    assert figures["images"] == 600
    assert not list(tmp_path.iterdir())
