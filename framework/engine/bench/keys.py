"""What a result follows from, as a digest: the same digest, the same result, never made twice."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import engine

_SHOWN_ONLY = {"cli", "scaffold", "testing", "exporting", "serve"}
"""Packages of Engine that no number follows from."""

_MEASURES = {"keys.py", "work.py", "judge.py", "speed.py", "contest.py", "train.py"}
"""Of ``engine.bench``, the modules that numbers follow from."""

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow", "tokenizers", "sentencepiece")
"""Versions that may change a number."""


def digest(*parts: Any) -> str:
    """Hexadecimal digest of JSON values, 24 digits."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@cache
def code_version(modules: tuple[str, ...] = ()) -> str:
    """Digest of the code: Engine's own files, those of plugin packages, versions of libraries.

    Args:
        modules: top-level packages of the plugins in use.
    """
    found = hashlib.sha256()
    root = Path(engine.__file__).parent
    for path in _python_files(root):
        inside = path.relative_to(root)
        top = inside.parts[0]
        if top in _SHOWN_ONLY or (top == "bench" and inside.name not in _MEASURES):
            continue
        found.update(str(inside).encode() + b"\0" + path.read_bytes())
    for module in sorted(set(modules)):
        for path in _files_of(module):
            found.update(path.name.encode() + b"\0" + path.read_bytes())
    found.update(json.dumps(versions(), sort_keys=True).encode())
    return found.hexdigest()[:24]


def _python_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def _files_of(module: str) -> list[Path]:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return _python_files(origin.parent) if origin.name == "__init__.py" else [origin]


def top_modules(targets: Iterable[str]) -> tuple[str, ...]:
    """``"engine_plugins.text.clip:ClipText"`` and others -> their top-level packages."""
    return tuple(sorted({target.partition(":")[0].partition(".")[0] for target in targets}))


@cache
def versions() -> dict[str, str]:
    """Versions of Engine, Python and the libraries that numbers depend on."""
    found = {"engine": engine.__version__, "python": platform.python_version()}
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
