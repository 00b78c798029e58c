"""The benchmark of searching runs, small, and gives the figures that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_it_gives_its_figures(root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "search.py"), "--vectors", "5000", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["exact_equal"] is True
    assert figures["recall"] >= 0.9
    assert figures["brute_per_second"] > 0
