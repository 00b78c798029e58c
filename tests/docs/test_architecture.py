"""The architecture page: its picture is that of the code, and the files that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"


def test_the_picture_is_that_of_the_code() -> None:
    script = ROOT / "docs" / "draw_architecture.py"
    ran = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_every_file_and_folder_that_it_names_exists() -> None:
    engine = ROOT / "framework" / "engine"
    names = re.findall(r"`((?:contracts|core|train|evaluate|data|clusters|bench|cli)/[\w/.]*)`",
                       PAGE.read_text(encoding="utf-8"))  # fmt: skip
    assert len(names) > 10
    assert [name for name in names if not (engine / name).exists()] == []


def test_every_package_has_a_door_sign() -> None:
    for path in (ROOT / "framework" / "engine").rglob("__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""'), path
