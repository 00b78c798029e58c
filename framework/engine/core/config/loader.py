"""Files to settings.

``extends: sber.yaml`` (relative to the file that says it) lays a file over another, mapping by
mapping; see :func:`engine.core.config.nodes.lay_over` for what happens where the plugin changes.
Paths that are settings (a dataset's ``path``, ``file:`` sources) are read as on the command line,
relative to the current folder; only ``extends`` is relative to its file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.contracts.settings import Settings
from engine.core.config.diagnostics import Diagnostic, Place, Refused, config_error, refuse
from engine.core.config.fields import fields_of
from engine.core.config.nodes import Node, bounded, lay_over
from engine.core.config.overrides import apply_overrides
from engine.core.config.places import Places
from engine.core.config.schema import EngineConfig
from engine.core.config.validation import validate
from engine.core.config.yaml_reader import MAX_BYTES, read_yaml
from engine.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from engine.core.registry import Registry

S = TypeVar("S", bound=Settings)

MAX_CHAIN = 20
"""Files that extend each other."""

MANIFEST = "engine.json"
"""What makes a folder an artifact (see ``engine.core.artifact``)."""

_MANIFESTS = (MANIFEST, "export.json")
"""A config beside one of these may have come from anywhere."""


def load_config(
    path: Path, overrides: Sequence[str] = (), *, registry: Registry | None = None
) -> EngineConfig:
    """Read a config.

    Args:
        path: a YAML file.
        overrides: ``KEY=VALUE`` each, the value in YAML (see ``engine.core.config.overrides``).
        registry: the plugins; by default everything installed.

    Raises:
        ConfigError: the file cannot be read, or there are diagnostics in it: all of them, each with
            its place.
    """
    return load_settings(EngineConfig, path, overrides, registry=registry)


def load_settings(
    settings: type[S],
    path: Path,
    overrides: Sequence[str] = (),
    *,
    registry: Registry | None = None,
) -> S:
    """Read a YAML file of any settings, as :func:`load_config` does."""
    return load_located(settings, path, overrides, registry=registry)[0]


def load_located(
    settings: type[S],
    path: Path,
    overrides: Sequence[str] = (),
    *,
    registry: Registry | None = None,
) -> tuple[S, Places]:
    """:func:`load_settings`, and where each of them was written, for errors that come later."""
    if registry is None:
        from engine.core.registry import default_registry

        registry = default_registry()
    diagnostics: list[Diagnostic] = []
    files: list[str] = []
    found: S | None = None
    root: Node | None = None
    try:
        root = _read_chain(Path(path), settings, diagnostics, files)
        root = bounded(apply_overrides(root, overrides, diagnostics))
        found = validate(settings, root, registry, diagnostics)
    except Refused as refused:
        diagnostics.append(refused.diagnostic)
    if diagnostics:
        raise config_error(diagnostics, files)
    assert found is not None
    assert root is not None
    return found, Places(root)


def _read_chain(
    path: Path, settings: type[Settings], diagnostics: list[Diagnostic], files: list[str]
) -> Node:
    """The file and all that it extends, laid over each other."""
    layers: list[Node] = []
    seen: list[str] = []
    asked: Place | None = None  # where `extends` stands
    following: Path | None = path
    while following is not None:
        name, real = str(following), _real(following)
        if asked is not None:
            _check_base(following, real, asked, files, seen)
        files.append(name)
        seen.append(real)
        data = _read_bytes(following, asked)
        if asked is not None:
            _check_config(following, data, settings, asked)
        root = read_yaml(data, name, diagnostics)
        if not isinstance(root.value, dict):
            refuse(root.place, "expected a mapping of settings")
        own = {key: node for key, node in root.value.items() if key != "extends"}
        if "extends" in root.value and _in_artifact(following):
            refuse(
                root.value["extends"].place,
                "a config inside an artifact may not extend another: an artifact stands alone",
                "extends",
            )
        layers.append(Node(own, root.place, root.keys))
        asked, following = _base(root.value.get("extends"), following)
    merged = layers.pop()
    while layers:
        merged = bounded(lay_over(merged, layers.pop()))
    return merged


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a zero byte in the name: reading it tells
        return str(path)


def _base(extends: Node | None, path: Path) -> tuple[Place | None, Path | None]:
    if extends is None:
        return None, None
    if not isinstance(extends.value, str) or not extends.value:
        refuse(extends.place, "expected the name of one file", "extends")
    return extends.place, Path(os.path.normpath(path.parent / extends.value))


def _in_artifact(path: Path) -> bool:
    """Whether a config lies in an artifact or an export, which may have come from anywhere."""
    places = (Path(_real(path)), path)
    try:
        return any(place.with_name(name).exists() for place in places for name in _MANIFESTS)
    except OSError:
        return False


def _check_config(path: Path, data: bytes, settings: type[Settings], asked: Place) -> None:
    """Refuse a file that is not a config, and quote nothing of it.

    Errors quote what stands in a config. A config that somebody else wrote may name any file as its
    base, a file of passwords, say, whose lines have no place in an error.
    """
    names = ["extends", *fields_of(settings)]
    # A setting of its own at the left edge, behind a byte order mark perhaps: only a config has it.
    own = rb"(?m)^(?:\xef\xbb\xbf)?[\"']?(?:%s)[\"']?[ \t]*:(?:\s|$)" % "|".join(names).encode()
    if path.suffix.lower() not in (".yaml", ".yml") or not re.search(own, data):
        known = ", ".join(f"`{name}:`" for name in names[1:5])
        refuse(
            asked,
            f"`{path}` is not a config: expected a .yaml file with settings such as {known}",
            "extends",
        )


def _check_base(path: Path, real: str, asked: Place, files: list[str], seen: list[str]) -> None:
    if real in seen:
        chain = " -> ".join([*files[seen.index(real) :], str(path)])
        refuse(asked, f"the files extend each other in a circle: {chain}", "extends")
    if len(seen) >= MAX_CHAIN:
        refuse(asked, f"more than {MAX_CHAIN} files extend each other", "extends")
    if path.exists() and not path.is_file():
        refuse(asked, f"`{path}` is not a file", "extends")


def _read_bytes(path: Path, asked: Place | None) -> bytes:
    """The first bytes of a file: as many as a config may have, and one more."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        what = f"no such file{_near(path)}"
    except IsADirectoryError:
        what = "is a folder: expected a config, a YAML file"
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    except ValueError as error:  # a zero byte in the name
        what = f"no such file ({error})"
    if asked is None:
        raise ConfigError(f"{path}: {what}")
    raise Refused(Diagnostic(asked, "extends", f"`{path}`: {what}"))


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    yaml = [name for name in names if name.endswith((".yaml", ".yml"))]
    return did_you_mean(path.name, yaml[:1000])
