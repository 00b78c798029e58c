"""What code a number follows from: digests of source files and versions of installed packages.

A module counts by the digest of its file where its source is likely to be edited: Engine, packages
of plugins, and whatever is not installed among the other packages (a folder on PYTHONPATH, an
editable install). Any other module counts by the version of the distribution that brought it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

MISSING = "missing"
"""Stands for the digest or the version of what is not there."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_IGNORED = frozenset({"__main__", "__mp_main__"})


def reachable_code(roots: Iterable[str], packages: Collection[str]) -> dict[str, str]:
    """What modules import, and what those import, as far as their source says.

    Unlike what a process has imported, this does not depend on what else the process does. Imports
    within functions count, those under ``if TYPE_CHECKING`` do not.

    Args:
        roots: names of modules.
        packages: top-level packages that count by their source wherever they are installed.

    Returns:
        ``{"module NAME": digest, "package NAME": version}``, in order of the names.
    """
    found: dict[str, str] = {}
    waiting, seen = list(roots), set(roots)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or name in _IGNORED:
            continue
        path = module_file(name)
        if not counts_by_source(top, path, packages):
            found |= {f"package {k}": v for k, v in versions_of([top]).items()}
            continue
        source = None if path is None else _content(path)
        found[f"module {name}"] = MISSING if source is None else hashlib.sha256(source).hexdigest()
        if path is not None and source is not None and path.suffix == ".py":
            more = {*_imports(source, name, path.name == "__init__.py"), *_parents(name)} - seen
            seen |= more
            waiting += sorted(more)
    return dict(sorted(found.items()))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def counts_by_source(top: str, path: Path | None, packages: Collection[str]) -> bool:
    """Whether a module counts by the digest of its file.

    Args:
        top: its top-level package.
        path: its file; ``None``: it has none.
        packages: see :func:`reachable_code`.
    """
    if top in packages:
        return True
    return path is not None and _INSTALLED.isdisjoint(path.parts) and not _in_python(path)


@cache
def _python_folder() -> Path:
    return Path(sysconfig.get_path("stdlib")).resolve()


def _in_python(path: Path) -> bool:
    return path.resolve().is_relative_to(_python_folder())


def module_file(name: str) -> Path | None:
    """The file of a module, which is not imported for it; ``None``: there is none."""
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if isinstance(file, str):
        return Path(file) if Path(file).is_absolute() else None
    spec = None if loaded is not None else _spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return Path(spec.origin)


def _spec(name: str) -> ModuleSpec | None:
    """Unlike ``importlib.util.find_spec`` it imports no parent package."""
    first, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    where = first
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        where = f"{where}.{part}"
        spec = PathFinder.find_spec(where, spec.submodule_search_locations)
    return spec


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imports(source: bytes, module: str, package: bool) -> set[str]:
    """Names of the modules that a source imports; of ``from a import b`` also ``a.b``, if one."""
    found: set[str] = set()
    for names, sure in _statements(source):
        for name in names:
            if name.startswith("."):
                level = len(name) - len(name.lstrip("."))
                parts = module.split(".")
                parts = parts[: len(parts) - level + package]
                name = ".".join([*parts, *filter(None, [name.lstrip(".")])])
            if sure or (name and module_file(name) is not None):
                found.add(name)
    return found


@lru_cache(maxsize=4096)
def _statements(source: bytes) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """The modules of each import statement: the named ones, and those that may be modules."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    found: list[tuple[tuple[str, ...], bool]] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.append((tuple(alias.name for alias in node.names), True))
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            if start.strip("."):
                found.append(((start,), True))
            dot = "" if start.endswith(".") else "."
            found.append((tuple(f"{start}{dot}{alias.name}" for alias in node.names), False))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return tuple(found)


def versions_of(tops: Iterable[str]) -> dict[str, str]:
    """The distributions that brought top-level modules, with their versions."""
    owners = _distributions()
    names = {name for top in tops for name in owners.get(top, ())}
    return {name: version_of(name) for name in sorted(names)}


@cache
def version_of(distribution: str) -> str:
    """The installed version of a distribution."""
    try:
        return version(distribution) or MISSING
    except PackageNotFoundError:
        return MISSING


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return packages_distributions()
