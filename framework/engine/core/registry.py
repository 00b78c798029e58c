"""The registry: finds plugins, looks them up, explains what is missing.

Built-in and third-party plugins come in by the same entry-point group, ``engine``. A package that
fails to import is remembered with its own error and takes no other down.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import pluggy

from engine.contracts.hooks import GROUP, Hooks, Plugin
from engine.contracts.kinds import KINDS
from engine.core.distributions import Distribution, canonical, distribution_of
from engine.core.plugin_api import (
    ATTRIBUTE,
    DISTRIBUTION,
    FIRST,
    ApiMismatchError,
    check_api,
    declared_api,
)
from engine.core.signals import Stopped
from engine.errors import PluginError, did_you_mean


@dataclass(frozen=True)
class Registered:
    """A plugin with the distribution that brought it."""

    plugin: Plugin
    distribution: Distribution


@dataclass(frozen=True)
class BrokenPackage:
    """A plugin package that could not be used, and why.

    Attributes:
        entry_point: its entry point, ``name = module``.
        distribution: the package it came from.
        error: the reason in one line.
        details: the traceback, for the package's author.
        needs_api: the version of the plugin API that it needs, where that is what is wrong.
    """

    entry_point: str
    distribution: Distribution
    error: str
    details: str = field(repr=False)
    needs_api: str | None = None


class Registry:
    """All plugins of the installed packages (or of the given entry points, in tests)."""

    def __init__(self, points: Iterable[EntryPoint] | None = None) -> None:
        self._found: dict[tuple[str, str], list[Registered]] = {}
        self.broken: list[BrokenPackage] = []
        for point in entry_points(group=GROUP) if points is None else points:
            self._load(point)

    def _load(self, point: EntryPoint) -> None:
        distribution = distribution_of(point)
        place = f"{point.name} = {point.value}"
        try:
            plugins = _offered(point, distribution)
        except Stopped:  # a signal that came meanwhile is not a fault of the package
            raise
        except ApiMismatchError as error:
            self.broken.append(
                BrokenPackage(
                    place, distribution, error.message, traceback.format_exc(), error.needed
                )
            )
            return
        except (Exception, SystemExit) as error:  # a third party's code may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.broken.append(BrokenPackage(place, distribution, reason, traceback.format_exc()))
            return
        for plugin in plugins:
            registered = Registered(plugin, distribution)
            self._found.setdefault((plugin.kind, plugin.name), []).append(registered)

    def all(self, kind: str | None = None) -> list[Registered]:
        """Every plugin (of one kind), sorted by kind and name; clashes included."""
        order = list(KINDS)
        found = [r for many in self._found.values() for r in many]
        found = [r for r in found if kind is None or r.plugin.kind == kind]
        return sorted(found, key=lambda r: (order.index(r.plugin.kind), r.plugin.name))

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted({r.plugin.name for r in self.all(kind)})

    def clashes(self) -> list[Sequence[Registered]]:
        """Plugins that share kind and name with another."""
        return [many for many in self._found.values() if len(many) > 1]

    def registered(self, kind: str, name: str) -> Registered:
        """The plugin of this kind and name, with its distribution.

        Args:
            kind: one of ``engine.contracts.KINDS``.
            name: the registered name, or ``distribution:name`` where several packages offer it.

        Raises:
            PluginError: unknown (with the nearest right name), or offered by two distributions.
        """
        owner, _, plain = name.rpartition(":")
        many = self._found.get((kind, plain), [])
        if owner:
            wanted = canonical(owner)
            many = [r for r in many if canonical(r.distribution.name) == wanted]
        if len(many) == 1:
            return many[0]
        if many:
            owners = " and ".join(dict.fromkeys(str(r.distribution) for r in many))
            names = dict.fromkeys(f"`{r.distribution.name}:{plain}`" for r in many)
            raise PluginError(
                f"{kind} `{plain}` is offered by {len(many)} plugins: from {owners}",
                hint=f"say which one is meant: {' or '.join(names)}"
                if len(names) > 1
                else "one package registers the name twice: tell its author",
            )
        raise PluginError(f"unknown {kind} `{name}`{self._explain(kind, name)}")

    def get(self, kind: str, name: str) -> Plugin:
        """The plugin of this kind and name. Raises like :meth:`registered`."""
        return self.registered(kind, name).plugin

    def default(self, kind: str) -> str:
        """The name of the plugin that a config gets where it names none of this kind.

        A registered plugin says so of itself (``Plugin(default=True)``). Where several packages do,
        Engine's own goes first: an installed package does not change what a config means.

        Returns:
            The name for ``use:``, with its distribution where another package offers the name too.

        Raises:
            PluginError: there is none, or several.
        """
        found = [one for one in self.all(kind) if one.plugin.default]
        return self._only(kind, found, f"default {kind}")

    def reader(self, format: str) -> str:
        """The name of the dataset plugin that reads a format of ``engine.data.formats``.

        Returns:
            The name for ``use:``, as :meth:`default` gives it.

        Raises:
            PluginError: there is none, or several.
        """
        found = [one for one in self.all("dataset") if format in one.plugin.reads]
        return self._only("dataset", found, f"dataset that reads {format}")

    def _only(self, kind: str, found: list[Registered], what: str) -> str:
        ours = [one for one in found if canonical(one.distribution.name) == DISTRIBUTION]
        chosen = ours or found
        if not chosen:
            broken = "".join(f"; {b.distribution} failed to load: {b.error}" for b in self.broken)
            raise PluginError(
                f"no {what}: none of the installed plugins says that it is one{broken}",
                hint=f"`engine plugins {kind}` lists what is installed",
            )
        if len(chosen) > 1:
            names = " and ".join(f"`{r.distribution.name}:{r.plugin.name}`" for r in chosen)
            raise PluginError(
                f"more than one {what}: {names} both say that they are it",
                hint="uninstall one of the packages",
            )
        (one,) = chosen
        clash = len(self._found[kind, one.plugin.name]) > 1
        return f"{one.distribution.name}:{one.plugin.name}" if clash else one.plugin.name

    def _explain(self, kind: str, name: str) -> str:
        # It may be one of those that a broken package would have brought.
        broken = "".join(f"; {b.distribution} failed to load: {b.error}" for b in self.broken)
        _, _, plain = name.rpartition(":")
        if plain != name and (kind, plain) in self._found:
            owners = ", ".join(f"`{r.distribution.name}`" for r in self._found[kind, plain])
            return f" (`{plain}` comes from {owners}){broken}"
        near = did_you_mean(name, self.names(kind))
        if near:
            return f"{near}{broken}"
        elsewhere = [k for k in KINDS if (k, name) in self._found]
        if elsewhere:
            return f" (there is a {elsewhere[0]} of that name){broken}"
        # What is broken stands first: a long list may be cut where a message is shown.
        return f"{broken} (installed: {', '.join(self.names(kind)) or 'none'})"


def _offered(point: EntryPoint, distribution: Distribution) -> list[Plugin]:
    """What a package registers. Runs its code, which may raise anything.

    Raises:
        ApiMismatchError: it needs another version of the plugin API; none of its code ran, unless
            it has no source.
        PluginError: it offers nothing, or something that is not a plugin.
    """
    declared = declared_api(point.value.partition(":")[0].strip())
    if declared is not None:
        check_api(declared, distribution.name)
    loaded = point.load()
    if declared is None:
        check_api(getattr(loaded, ATTRIBUTE, FIRST), distribution.name)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(loaded, name=point.name)
    manager.check_pending()
    answers = manager.hook.engine_plugins()
    if not answers:
        raise PluginError(
            f"{point.value} gives no plugins: it needs a function `engine_plugins` under"
            " engine.contracts.hooks.hookimpl that returns a list of them"
        )
    plugins = [plugin for some in answers for plugin in some]
    for plugin in plugins:
        if not isinstance(plugin, Plugin):
            raise PluginError(f"engine_plugins() gave {plugin!r}, which is not a Plugin")
    return plugins


@cache
def default_registry() -> Registry:
    """The registry of everything installed, read once a process."""
    return Registry()
