"""Stores under several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.cache.store import Budget, Store

from .writer import COUNT, ENTRIES, item

WRITER = Path(__file__).with_name("writer.py")


@pytest.mark.slow
@pytest.mark.parametrize("limit", [10**6, 3000])
def test_processes_write_read_and_make_room_at_once(tmp_path: Path, limit: int) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, str(WRITER), str(tmp_path), str(limit), str(seed)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    seen = 0
    for name in ("s0", "s1"):
        store = Store(tmp_path / name, ENTRIES, Budget(tmp_path, limit), {})
        for number in range(COUNT):
            key, content = item(number)
            found = store.read(key)
            seen += found is not None
            assert found is None or np.array_equal(found, content)
        store.close()
    assert seen > 0
    if limit == 10**6:
        assert seen > COUNT
