"""What a result follows from beside its code (``code.py``): a digest, and words for people."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.version import __version__

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "tokenizers", "sentencepiece")
"""Versions that are shown with a result."""


def digest(*parts: Any) -> str:
    """Hexadecimal digest of JSON values, 24 digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def versions() -> dict[str, str]:
    """Versions of Engine, Python and the libraries that a reader asks for."""
    found = {"engine": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, str]:
    """What this machine is, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = {
        "cpu": _cpu() or platform.processor() or platform.machine(),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    memory = _memory()
    return {**found, "memory": f"{memory / 2**30:.0f} GiB"} if memory else found


def _cpu() -> str | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
