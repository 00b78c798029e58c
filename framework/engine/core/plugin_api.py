"""Which version of the plugin API a package needs, reported before any of its code runs.

The module that a package's entry point names says it in one line::

    ENGINE_API = "2.0"

It is read from the source, without an import: a package that was written for another version may
not even import here. A module without source (compiled, say) is asked after its import. A package
that says nothing is taken to need the first version, 1.0.

Versions are ``MAJOR.MINOR``: a package works where the major numbers are equal and the minor number
that it needs is not larger than the one that is offered. ``"1"`` means ``"1.0"``.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib.machinery import ModuleSpec, PathFinder

from engine.contracts.hooks import API_VERSION
from engine.errors import PluginError

ATTRIBUTE = "ENGINE_API"
"""The name under which a package's module says what it needs."""

FIRST = "1.0"
"""What a package needs that says nothing."""

DISTRIBUTION = "engine-towers"
"""The distribution that Engine itself and the built-in plugins come in."""

_VERSION = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?")


class ApiMismatchError(PluginError):
    """A package needs another version of the plugin API.

    Attributes:
        needed: the version that it needs.
    """

    def __init__(self, message: str, needed: str) -> None:
        super().__init__(message)
        self.needed = needed


def check_api(needed: object, distribution: str, offered: str = API_VERSION) -> None:
    """Raise where a package cannot work with this Engine.

    Args:
        needed: what the package says.
        distribution: its name, for the message.
        offered: the version that this Engine has.

    Raises:
        ApiMismatchError: it needs another version; says who is to be upgraded.
        PluginError: what it says is not a version.
    """
    wanted = _parse(needed)
    if wanted is None:
        raise PluginError(
            f"{ATTRIBUTE} is {needed!r}: expected a text such as {FIRST!r}, the version of the"
            " plugin API that the package needs"
        )
    ours = _parse(offered)
    assert ours is not None
    if wanted[0] == ours[0] and wanted[1] <= ours[1]:
        return
    newer, older = (DISTRIBUTION, distribution) if wanted > ours else (distribution, DISTRIBUTION)
    raise ApiMismatchError(
        f"needs plugin API {needed}, this Engine offers {offered}: upgrade {newer} (or install an"
        f" older {older})",
        str(needed),
    )


def _parse(version: object) -> tuple[int, int] | None:
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    return None if match is None else (int(match[1]), int(match[2] or 0))


def declared_api(module: str) -> object:
    """What a module's source says that it needs, without importing it.

    Args:
        module: dotted name of the module that an entry point names.

    Returns:
        The value of ``ENGINE_API``; ``None`` where the source cannot be found or read, or has no
        such line (or one whose value must be computed).
    """
    try:
        spec = _spec(module)
        source = None if spec is None else spec.loader.get_source(module)  # type: ignore[union-attr]
        tree = _parsed(source or "")
    except Exception:  # whatever is wrong with it, the import will tell
        return None
    found: object = None
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else (
            [statement.target] if isinstance(statement, ast.AnnAssign) else [])  # fmt: skip
        named = any(isinstance(one, ast.Name) and one.id == ATTRIBUTE for one in targets)
        if named and isinstance(value := getattr(statement, "value", None), ast.Constant):
            found = value.value
    return found


def _parsed(source: str) -> ast.Module:
    """The statements of a module up to the last that may name :data:`ATTRIBUTE`.

    What follows it, in most modules nearly everything, need not be parsed.
    """
    last = source.rfind(ATTRIBUTE)
    if last < 0:
        return ast.Module([], [])
    end = source.find("\n", last)
    try:
        return ast.parse(source[:end] if end > 0 else source)
    except SyntaxError:  # a statement goes on after that line
        return ast.parse(source)


def _spec(module: str) -> ModuleSpec | None:
    """Where a module lies. Unlike ``importlib.util.find_spec`` it imports no parent package."""
    first, *rest = module.split(".")
    spec, name = importlib.util.find_spec(first), first
    for part in rest:
        if spec is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    return spec
