"""The code that a result follows from: what its process really imported, recorded beside it.

A process of the bench records, at its end, a digest of each source file that it imported of Engine,
of the packages of the plugins in use, and of whatever else is not installed like a library; for
everything else the version of its distribution. A record is a file of ``OUT/code``, named by its
content, so that many results share one; a result holds the name. It is used again only while every
file and version of the record is still what it was.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.bench.results import _Fact
from engine.contracts.hooks import GROUP
from engine.contracts.settings import PluginRef
from engine.core.code_identity import MISSING, counts_by_source, version_of, versions_of
from engine.core.files import write_text
from engine.core.named_files import values_of
from engine.core.registry import Registry

_ENGINE = "engine"
_LARGE = 1 << 24
"""Bytes from which a package's data file counts by its size and time instead of its content."""

_DATA_FILES = 10_000
_IMPORT = re.compile(rb"^[ \t]*(?:import|from)[ \t]+([A-Za-z_][A-Za-z0-9_]*)", re.MULTILINE)
_NOT_DATA = frozenset({".py", ".pyc", ".pyo", ".pyi"})
_STARTED = time.time()


class Code(_Fact):
    """What a process imported.

    Attributes:
        files: ``{"engine/train/loop.py": digest}``, relative to the folder that holds the
            top-level package; data files of plugin packages too.
        versions: of distributions, and of Python.
        absent: top-level modules that these files ask for and that are not installed: once they
            are, an import that failed will succeed.
    """

    files: Mapping[str, str]
    versions: Mapping[str, str]
    absent: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Digest of the record, 24 hexadecimal digits."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def changes(self) -> Iterator[str]:
        """What is no longer as it was, in words; nothing where the result still follows from it."""
        for file, digest in self.files.items():
            if _digest_of(_path_of(file)) != digest:
                yield f"{file} changed"
        for name, version in self.versions.items():
            now = platform.python_version() if name == "python" else version_of(name)
            if now != version:
                yield f"{name} was {version} and is {now}"
        for top in self.absent:
            if _is_there(top):
                yield f"{top} was not installed and is now"


def uses_of(settings: object) -> Iterator[PluginRef]:
    """Every plugin that settings choose, those within other plugins' settings too."""
    return (value for value in values_of(settings) if isinstance(value, PluginRef))


def packages_of(values: Iterable[object], registry: Registry) -> tuple[str, ...]:
    """Top-level packages of the plugins that settings choose."""
    targets = {
        path
        for value in values
        for use in uses_of(value)
        for plugin in (registry.registered(use.kind, use.name).plugin,)
        for path in (plugin.target, plugin.settings)
    }
    return tuple(sorted({path.partition(":")[0].partition(".")[0] for path in targets}))


def imported_code(packages: Collection[str]) -> Code:
    """What this process has imported so far.

    Args:
        packages: top-level packages of the plugins in use. Of other plugin packages the module
            that their entry point names is imported to see what they offer; that alone does not
            count.
    """
    ours = {_ENGINE, *packages}
    ignored = _entry_modules() - _within(ours)
    files: dict[str, str] = {}
    libraries: set[str] = set()
    for name, module in sorted(_loaded().items()):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or name in ignored:
            continue
        path = _file_of(module)
        if counts_by_source(top, path, ours):
            if path is not None:
                files[_relative(top, path)] = _digest_of(path, since=_STARTED)
        else:
            libraries.add(top)
    for package in sorted(ours - {_ENGINE}):
        for path in _data_files(package):
            files[_relative(package, path)] = _digest_of(path)
    versions = {**versions_of(libraries), "python": platform.python_version()}
    return Code(files=files, versions=versions, absent=tuple(sorted(_absent(files))))


def keep(code: Code, folder: Path) -> str:
    """Write a record where it is not there yet; its name."""
    path = folder / f"{code.name}.json"
    if read(code.name, folder) is None:
        write_text(path, code.model_dump_json(indent=1) + "\n")
    return code.name


def read(name: str, folder: Path) -> Code | None:
    """The record of a name; ``None`` where it is missing or damaged."""
    if not re.fullmatch("[0-9a-f]{24}", name):
        return None
    try:
        found = Code.model_validate_json((folder / f"{name}.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if found.name == name else None


def why_stale(name: str, folder: Path) -> str:
    """Why what was made by recorded code must be made again; empty where it need not."""
    code = read(name, folder)
    if code is None:
        return "it is not known which code made it"
    return next(code.changes(), "")


def model_record(run: Path) -> Path:
    """The file that holds the name of the code that made the model of a run's folder."""
    return run.with_name(f"{run.name}.code")


def why_model_stale(run: Path, folder: Path) -> str:
    """:func:`why_stale` of the model of a run's folder."""
    try:
        name = model_record(run).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        name = ""
    return why_stale(name, folder)


# ---- what is loaded ----------------------------------------------------------------------------


def _loaded() -> dict[str, ModuleType]:
    """Modules by name; the one that Python was started with by its own name, too."""
    found = {name: module for name, module in list(sys.modules.items()) if module is not None}
    main = found.pop("__main__", None)
    spec = getattr(main, "__spec__", None)
    if main is not None and spec is not None:
        found[spec.name] = main
    found.pop("__mp_main__", None)
    return found


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    # torch.ops and torch.classes, which are objects, name files that do not exist.
    return Path(file) if isinstance(file, str) and Path(file).is_absolute() else None


def _entry_modules() -> set[str]:
    """Modules that entry points of plugins name, and the packages that they lie in."""
    found: set[str] = set()
    for point in entry_points(group=GROUP):
        name = point.value.partition(":")[0].strip()
        while name:
            found.add(name)
            name = name.rpartition(".")[0]
    return found


def _within(tops: Collection[str]) -> set[str]:
    return {name for name in sys.modules if name.partition(".")[0] in tops}


def _absent(files: Iterable[str]) -> set[str]:
    asked: set[str] = set()
    for file in files:
        if file.endswith(".py") and (path := _path_of(file)) is not None:
            asked |= _asked_for(_content(path) or b"")
    return {top for top in asked - sys.stdlib_module_names if not _is_there(top)}


def _asked_for(source: bytes) -> set[str]:
    return {match.decode() for match in _IMPORT.findall(source)}


def _is_there(top: str) -> bool:
    if top in sys.modules:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


# ---- files -------------------------------------------------------------------------------------


def _homes(top: str) -> list[Path]:
    """Folders that hold a top-level package or module."""
    loaded: Any = sys.modules.get(top)
    try:
        spec = getattr(loaded, "__spec__", None) or importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder).parent for folder in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.has_location and spec.origin else []


def _relative(top: str, path: Path) -> str:
    for home in _homes(top):
        if path.is_relative_to(home):
            return path.relative_to(home).as_posix()
    return str(path)


def _path_of(file: str) -> Path | None:
    """Where a recorded file lies now; ``None``: nowhere."""
    if Path(file).is_absolute():
        return Path(file)
    first = file.partition("/")[0]
    homes = _homes(first.partition(".")[0])
    return next((home / file for home in homes if (home / file).is_file()), None)


def _data_files(package: str) -> Iterator[Path]:
    """What lies in a package beside its modules: vocabularies, tables, weights."""
    count = 0
    for home in _homes(package):
        for folder, inner, names in os.walk(home / package):
            inner[:] = sorted(name for name in inner if name != "__pycache__")
            for name in sorted(names):
                path = Path(folder) / name
                if path.suffix in _NOT_DATA or count >= _DATA_FILES:
                    continue
                count += 1
                yield path


def _digest_of(path: Path | None, since: float | None = None) -> str:
    """Digest of a file; of one that was edited since a time it is not known what was imported."""
    try:
        if path is None:
            return MISSING
        stat = path.stat()
        if since is not None and since < stat.st_mtime <= time.time():
            return "edited while it ran"
        return _digest(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except OSError:
        return MISSING


@lru_cache(maxsize=16_384)
def _digest(path: Path, size: int, changed: int, node: int) -> str:
    if size > _LARGE and path.suffix not in _NOT_DATA:
        return f"{size} bytes of {changed}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
