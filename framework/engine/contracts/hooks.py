"""What a plugin package may offer, and the record by which it registers a plugin.

A package names a module in the entry-point group ``engine`` and implements one hook there::

    # pyproject.toml
    [project.entry-points.engine]
    my_package = "my_package"

    # my_package/__init__.py: keep it light, every command imports it
    from engine.contracts.hooks import Plugin, hookimpl

    ENGINE_API = "2.0"  # the version of the plugin API that it is written for

    @hookimpl
    def engine_plugins():
        return [
            Plugin("text_encoder", "my_encoder", "my_package.encoder:MyEncoder",
                   settings="my_package.settings:MySettings", summary="what it is"),
        ]

Target and settings are named, not imported: the target may import torch, the settings must not.
``ENGINE_API`` is read before the package's code runs (see ``engine.core.plugin_api``).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

from engine.contracts.command import BUILT_IN
from engine.contracts.kinds import KINDS
from engine.errors import PluginError

if TYPE_CHECKING:
    from engine.contracts.settings import Settings  # pydantic: `engine --help` does without

GROUP = "engine"
"""Name of the entry-point group and of the pluggy project."""

API_VERSION = "2.0"
"""Version of the plugin API, ``MAJOR.MINOR``: the contracts, the hooks, :class:`Plugin`. The minor
number grows with what is added, the major one with what plugins must be changed for."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True)
class Plugin:
    """One registered plugin.

    Attributes:
        kind: one of ``engine.contracts.KINDS``.
        name: what ``use:`` says.
        target: ``"module:Class"`` of the plugin, imported when a model is built: a class derived
            from the contract of its kind, with every abstract method given.
        settings: ``"module:Class"`` of its settings, a class derived from the base that its kind
            asks for; that module must not import torch. Left out: it is that base itself.
        summary: one line for ``engine plugins``.
        deprecated: for a plugin that will go away: what to use instead, in words (``"use `new`
            instead"``). A config that uses the plugin gets the warning once.
        default: whether a config that names no plugin of this kind gets this one. The built-in
            package says so once for each kind that has a default; other packages leave it out.
        reads: formats of ``engine.data.formats`` that a dataset with the settings ``path`` reads.
            Commands that are given a folder or a file of such a format find its plugin by this.
    """

    kind: str
    name: str
    target: str
    settings: str = ""
    summary: str = ""
    deprecated: str = ""
    default: bool = False
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(
                f"plugin `{self.name}`: unknown kind `{self.kind}`",
                hint=f"kinds are: {', '.join(KINDS)}",
            )
        if self.kind == "command":
            _check_command(self.name)
        if not self.settings:
            object.__setattr__(
                self, "settings", f"engine.contracts.{KINDS[self.kind].settings_base}"
            )
        for what, path in (("target", self.target), ("settings", self.settings)):
            if path.count(":") != 1:
                raise PluginError(
                    f"{self.kind} `{self.name}`: {what} `{path}` is not `module:Class`"
                )

    def load(self) -> type[Any]:
        """Import and return the plugin's class.

        Raises:
            PluginError: its module does not import or has no such class; carries the reason.
        """
        return self._import(self.target)

    def load_settings(self) -> type[Settings]:
        """Import and return its settings class.

        Raises:
            PluginError: it does not import, or does not derive from the base that its kind asks
                for.
        """
        settings = self._import(self.settings)
        base: type[Settings] = KINDS[self.kind].load_settings_base()
        if not issubclass(settings, base):
            raise PluginError(
                f"{self.kind} `{self.name}`: {self.settings} does not derive from"
                f" engine.contracts.{base.__name__}",
                hint=f"the settings of every {self.kind} derive from that class: its author"
                " changes the base of the settings",
            )
        return settings

    def _import(self, path: str) -> type[Any]:
        module, _, attribute = path.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plugin's own code may raise anything
            raise PluginError(
                f"{self.kind} `{self.name}`: cannot import {path}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(found, type):
            raise PluginError(f"{self.kind} `{self.name}`: {path} is not a class")
        return found


def _check_command(name: str) -> None:
    if name in BUILT_IN:
        raise PluginError(
            f"command `{name}`: Engine has a command of that name, which a plugin cannot replace",
            hint="its author registers it under another name",
        )
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise PluginError(
            f"command {name!r}: expected lower-case letters, digits, hyphens and underscores, a"
            " letter first"
        )


class Hooks:
    """The hooks of Engine."""

    @hookspec
    def engine_plugins(self) -> Iterable[Plugin]:  # type: ignore[empty-body]
        """Return the plugins of this package. Called once, at first look-up; import no torch."""
