"""A second plugin for a package: new files beside the old ones, and one entry in its list."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import replace
from pathlib import Path

from engine.contracts.hooks import GROUP
from engine.core.files import write_text
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError
from engine.scaffold import package
from engine.scaffold.kind import PackageKind
from engine.scaffold.names import Names
from engine.scaffold.writer import Package, check_names, commands, fill, kind_of, values_of

_MAX_BYTES = 1_000_000
"""Larger files are not a package's ``pyproject.toml`` or ``__init__.py``."""


def add_plugin(name: str, kind: str, folder: Path, registry: Registry | None = None) -> Package:
    """Write a plugin into a package that is there: its code, settings, test, config, and its entry.

    The package is one that :func:`engine.scaffold.new_package` wrote, or one of the same shape: one
    entry point, and an ``engine_plugins`` that returns a list. Nothing that is there is changed but
    that list.

    Args:
        name: from which the plugin's name follows: ``my-tokenizer`` becomes ``my_tokenizer``.
        kind: one of ``engine.contracts.KINDS``.
        folder: of the package, where its ``pyproject.toml`` is.
        registry: the plugins whose names are taken; by default everything installed.

    Raises:
        PluginError: a bad or taken name, no package, a file that exists already, or a list that
            cannot be found. Nothing is written then.
    """
    distribution, module = _package(folder)
    names = replace(Names.of(name, kind), distribution=distribution, module=module)
    names.check_plugin_free(registry or default_registry())
    home = next(
        (one for one in (Path("src") / module, Path(module)) if (folder / one).is_dir()), None
    )
    if home is None:
        raise PluginError(f"{folder}: there is no folder `src/{module}` or `{module}`")
    listed = home / "__init__.py"
    old = _read(folder / listed)
    own = replace(kind_of(kind), file=_free_name(folder / home, names))
    texts = _texts(names, home, own)
    entry = texts.pop(str(listed))
    new = with_entry(old, entry, str(folder / listed))
    for path in texts:
        if (folder / path).exists() or (folder / path).is_symlink():
            raise PluginError(f"{folder / path} exists already", hint="choose another name")
    _write(folder, texts, str(listed), new)
    lines = (line.replace("my.yaml", f"{names.plugin}.yaml") for line in commands(names, own))
    return Package(folder, names, (*texts, str(listed)), tuple(lines))


def _package(folder: Path) -> tuple[str, str]:
    """The distribution and the module of the entry point."""
    path = folder / "pyproject.toml"
    try:
        project = tomllib.loads(_read(path))["project"]
        name, points = project["name"], project["entry-points"][GROUP]
        (module,) = points.values()
        module = module.partition(":")[0]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise PluginError(
            f"{path} is not that of a package with one plugin module"
            f" ({type(error).__name__}: {error})",
            hint="it needs one line below [project.entry-points.engine]: the package's module",
        ) from error
    if not isinstance(name, str) or not module.isidentifier():
        raise PluginError(f"{path}: the entry point `{module}` is not a module of this package")
    return name, module


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise PluginError(f"{path} is larger than {_MAX_BYTES:,} bytes")
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PluginError(
            f"{path} cannot be read: {error}",
            hint="--into names the folder of a package, where its pyproject.toml is",
        ) from error


def _free_name(home: Path, names: Names) -> str:
    """The name of the new module: that of its kind, or the plugin's where that is taken."""
    usual = kind_of(names.kind).file
    return names.plugin if (home / f"{usual}.py").exists() else usual


def _texts(names: Names, home: Path, own: PackageKind) -> dict[str, str]:
    """The new files by their paths, and the entry under the path of ``__init__.py``."""
    values, file = values_of(names, own), own.file
    settings = f"{file}_settings"
    values["entry"] = values["entry"].replace(
        f"{names.module}.settings:", f"{names.module}.{settings}:"
    )
    plugin = fill(own.plugin, values).replace("from .settings import", f"from .{settings} import")
    texts = {
        str(home / f"{file}.py"): plugin,
        f"tests/test_{file}.py": fill(package.TEST, values),
        f"{names.plugin}.yaml": fill(package.CONFIG, values),
    }
    for end, code in own.beside.items():
        texts[str(home / f"{file}_{end}.py")] = fill(code, values)
    if own.settings:
        texts[str(home / f"{settings}.py")] = fill(own.settings, values)
    for path, text in texts.items():
        if path.startswith(str(home)):
            check_names(text, names)
    return {**texts, str(home / "__init__.py"): values["entry"]}


def with_entry(code: str, entry: str, where: str) -> str:
    """The code of a package's module with one plugin more in the list that it returns.

    Args:
        code: Python, with a function ``engine_plugins`` whose one ``return`` gives a list.
        entry: ``Plugin(...)``, indented as it stands in the list.
        where: name of the file, for the message.

    Raises:
        PluginError: there is no such list; says what to write into it.
    """
    try:
        found = [
            node.value
            for function in ast.walk(ast.parse(code))
            if isinstance(function, ast.FunctionDef) and function.name == "engine_plugins"
            for node in ast.walk(function)
            if isinstance(node, ast.Return)
        ]
    except (SyntaxError, ValueError, RecursionError) as error:
        raise PluginError(f"{where} is not Python: {error}") from error
    if len(found) != 1 or not isinstance(found[0], ast.List):
        raise PluginError(
            f"{where}: `engine_plugins` does not return one list, so the plugin cannot be added",
            hint=f"write it that way, or add yourself: {' '.join(entry.split())}",
        )
    data, end = code.encode(), _offset(code, found[0].end_lineno, found[0].end_col_offset) - 1
    last = found[0].elts[-1] if found[0].elts else None
    start = _offset(code, last.end_lineno, last.end_col_offset) if last else end
    between = data[start:end].decode()
    comma = "" if last is None or between.lstrip().startswith(",") else ","
    new = data[:start].decode() + comma + between.rstrip() + "\n" + entry + ",\n    "
    return new + data[end:].decode()


def _offset(code: str, line: int | None, column: int | None) -> int:
    """Place in the bytes of the code: ast counts lines from 1 and columns in bytes."""
    assert line is not None
    assert column is not None
    return sum(len(one) for one in code.encode().splitlines(keepends=True)[: line - 1]) + column


def _write(folder: Path, texts: dict[str, str], listed: str, new: str) -> None:
    """Write the new files, then the list; on an error the new files are gone."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            written.append(folder / path)
            write_text(folder / path, text)
        write_text(folder / listed, new)
    except BaseException:
        for one in written:
            one.unlink(missing_ok=True)
        raise
