"""What a plugin package may offer, and the record by which it registers a plugin.

A package names a module in the entry-point group ``engine`` and implements one hook there::

    # pyproject.toml
    [project.entry-points.engine]
    my_package = "my_package"

    # my_package/__init__.py: keep it light, it is imported by `engine --help`
    from engine.hookspecs import Plugin, hookimpl

    @hookimpl
    def engine_plugins():
        return [
            Plugin("text_encoder", "my_encoder", "my_package.encoder:MyEncoder",
                   settings="my_package.settings:MySettings", summary="what it is"),
        ]

Target and settings are named, not imported: the target may import torch, the settings must not.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pluggy

from engine.contracts.settings import KINDS, Settings
from engine.errors import PluginError

GROUP = "engine"
"""Name of the entry-point group and of the pluggy project."""

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
        settings: ``"module:Class"`` of its settings; that module must not import torch.
        summary: one line for ``engine plugins``.
    """

    kind: str
    name: str
    target: str
    settings: str = "engine.contracts.settings:Settings"
    summary: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PluginError(
                f"plugin `{self.name}`: unknown kind `{self.kind}`",
                hint=f"kinds are: {', '.join(KINDS)}",
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
        """Import and return its settings class."""
        settings = self._import(self.settings)
        if not issubclass(settings, Settings):
            raise PluginError(
                f"{self.kind} `{self.name}`: {self.settings} does not derive from"
                " engine.contracts.Settings"
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


class Hooks:
    """The hooks of Engine."""

    @hookspec
    def engine_plugins(self) -> Iterable[Plugin]:  # type: ignore[empty-body]
        """Return the plugins of this package. Called once, at first look-up; import no torch."""
