"""What every test stands on: no hub is asked for anything, and each test has its own folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: it reads this once
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture
def contest_sample() -> Path:
    """The 570 real photographs; skips where they do not lie beside the project."""
    folder = ROOT.parent / "shared" / "data" / "contest_sample"
    if not folder.is_dir():
        pytest.skip("the contest's sample does not lie in ../shared/data beside the project")
    return folder
