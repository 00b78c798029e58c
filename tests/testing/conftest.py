"""The plugins of these tests are importable by name, in other processes too."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong plugin writes where it stands: not into the checkout."""
    monkeypatch.chdir(tmp_path)
