"""Writing a package, whole or not at all."""

from __future__ import annotations

import ast
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from engine.contracts.hooks import API_VERSION
from engine.contracts.kinds import KINDS
from engine.core.files import replacing_folder
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError
from engine.scaffold import package
from engine.scaffold.kind import COMMON, PackageKind
from engine.scaffold.names import Names
from engine.version import __version__


@dataclass(frozen=True)
class Package:
    """A package that was written.

    Attributes:
        folder: where it is.
        names: what things in it are called.
        files: its files, relative to the folder.
        commands: what one does with it, in order.
    """

    folder: Path
    names: Names
    files: tuple[str, ...]
    commands: tuple[str, ...]


def new_package(
    name: str, kind: str, folder: Path | None = None, registry: Registry | None = None
) -> Package:
    """Write a package with one plugin of a kind: the smallest that works and trains.

    Args:
        name: of the distribution; the other names follow from it.
        kind: one of ``engine.contracts.KINDS``.
        folder: where it goes; by default ``name`` in the current folder.
        registry: the plugins whose names are taken; by default everything installed.

    Raises:
        PluginError: a bad name, one that is taken, or the folder exists. Nothing is written then.
    """
    names = Names.of(name, kind)
    names.check_free(registry or default_registry())
    folder = Path(name) if folder is None else folder
    _check_free(folder)
    texts = render(names)
    _write(folder, texts)
    return Package(folder, names, tuple(texts), commands(names, kind_of(kind)))


def render(names: Names) -> dict[str, str]:
    """Every file of a package by its path.

    Raises:
        PluginError: the plugin's class would have the name of something that its code imports.
    """
    own = kind_of(names.kind)
    values = values_of(names, own)
    source = f"src/{names.module}"
    templates = {
        "pyproject.toml": package.PYPROJECT,
        "README.md": package.README,
        "my.yaml": package.CONFIG,
        f"{source}/__init__.py": package.INIT,
        **({f"{source}/settings.py": own.settings} if own.settings else {}),
        f"{source}/{own.file}.py": own.plugin,
        **{f"{source}/{own.file}_{end}.py": code for end, code in own.beside.items()},
        f"{source}/py.typed": "",
        "tests/test_contract.py": package.TEST,
    }
    texts = {path: fill(template, values) for path, template in templates.items()}
    for path, text in texts.items():
        if path.startswith(source):
            check_names(text, names)
    return texts


def kind_of(kind: str) -> PackageKind:
    """What packages of this kind have of their own."""
    found: PackageKind = importlib.import_module(f"engine.scaffold.kinds.{kind}").PACKAGE
    return found


def values_of(names: Names, own: PackageKind) -> dict[str, str]:
    """What stands for each placeholder."""
    values = {
        "kind": names.kind,
        "does": KINDS[names.kind].description,
        "distribution": names.distribution,
        "module": names.module,
        "name": names.plugin,
        "class_name": names.class_name,
        "engine_version": __version__,
        "api": API_VERSION,
        "file": own.file,
        "contract": own.contract,
        "contract_module": own.contract_module,
        "title": own.summary[0].upper() + own.summary[1:],
    }
    slots = {**COMMON, **own.slots, "summary": own.summary, "headline": own.headline}
    slots |= {"checked": own.checked, "settings_line": "", "settings_hint": ""}
    if own.settings:
        slots["settings_line"] = package.SETTINGS_LINE
        slots["settings_hint"] = package.SETTINGS_HINT
    values |= {slot: fill(text, values) for slot, text in slots.items()}
    values["entry"] = fill(package.ENTRY, values)
    return values | {"commands": "\n".join(commands(names, own))}


def commands(names: Names, own: PackageKind) -> tuple[str, ...]:
    """What one does with a package, in order."""
    values = {"name": names.plugin, "module": names.module, "file": own.file}
    values["data"] = fill(own.data, values)
    return tuple(fill(line, values) for line in own.commands)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every ``$name`` replaced; raises KeyError for an unknown name."""
    return Template(template).substitute(values)


def check_names(code: str, names: Names) -> None:
    """Raise PluginError where a class of the package would hide a name that its code imports."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "level", 0) == 0
        for alias in node.names
    }
    for word in (names.class_name, f"{names.class_name}Settings"):
        if word in imported:
            raise PluginError(
                f"`{names.distribution}` would need a class `{word}`, which is the name of"
                " something that it imports",
                hint=f"choose another name, such as engine-my-{names.distribution[7:] or 'own'}"
                if names.distribution.startswith("engine-")
                else "choose another name, such as engine-my-encoder",
            )


def _check_free(folder: Path) -> None:
    if os.path.lexists(folder):
        raise PluginError(
            f"{folder} exists already", hint="choose another folder with `-o`, or remove it"
        )


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write to a temporary sibling, which is renamed at the end."""
    try:
        with replacing_folder(folder, _check_free, error=PluginError) as temporary:
            for path, text in texts.items():
                target = temporary / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PluginError(f"{folder} cannot be written: {error}") from error
