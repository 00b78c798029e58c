"""The names of a new package, all made from the one that its author chose."""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass

from engine.contracts.kinds import KINDS
from engine.core.registry import Registry
from engine.errors import PluginError, did_you_mean

LONGEST = 40

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX = "engine-"


@dataclass(frozen=True)
class Names:
    """What things are called.

    Attributes:
        kind: of the plugin.
        distribution: what ``pip install`` says: ``engine-my-encoder``.
        module: what ``import`` says: ``engine_my_encoder``.
        plugin: what ``use:`` says: ``my_encoder``, without the ``engine-`` of the distribution.
        class_name: ``MyEncoder``; the settings are ``MyEncoderSettings``.
    """

    kind: str
    distribution: str
    module: str
    plugin: str
    class_name: str

    @classmethod
    def of(cls, name: str, kind: str) -> Names:
        """Names for a package and a plugin.

        Raises:
            PluginError: the kind is none, or no Python name can be made of the name.
        """
        if kind not in KINDS:
            raise PluginError(
                f"`{kind}` is not a kind of plugin{did_you_mean(kind, KINDS)}",
                hint=f"kinds are: {', '.join(KINDS)}",
            )
        if len(name) > LONGEST or not _NAME.fullmatch(name):
            raise PluginError(
                f"`{name}` is not a name for a package{_nearest(name)}",
                hint=f"lower case letters, digits and single hyphens, at most {LONGEST}, a letter"
                " first: engine-my-encoder",
            )
        own = name.removeprefix(_PREFIX)
        names = cls(
            kind=kind,
            distribution=name,
            module=name.replace("-", "_"),
            plugin=own.replace("-", "_"),
            class_name="".join(part.capitalize() for part in own.split("-")),
        )
        for word in (names.module, names.plugin, names.class_name):
            if not word.isidentifier() or keyword.iskeyword(word):
                raise PluginError(
                    f"`{name}` would need the name `{word}`, which Python does not allow",
                    hint="choose another name, such as engine-my-encoder",
                )
        return names

    def check_free(self, registry: Registry) -> None:
        """Ask whether anything installed has one of these names.

        Raises:
            PluginError: a plugin of this kind and name, or a module of this name, is installed.
        """
        self.check_plugin_free(registry)
        if importlib.util.find_spec(self.module) is not None:
            raise PluginError(
                f"a Python module `{self.module}` is installed already",
                hint="choose another name, or uninstall that package",
            )

    def check_plugin_free(self, registry: Registry) -> None:
        """Ask whether a plugin of this kind and name is installed.

        Raises:
            PluginError: it is.
        """
        taken = [r for r in registry.all(self.kind) if r.plugin.name == self.plugin]
        if taken:
            raise PluginError(
                f"there is a {self.kind} `{self.plugin}` already, from {taken[0].distribution}",
                hint="two plugins of one name cannot be used; choose another name",
            )


def _nearest(name: str) -> str:
    """A name that would do, in words."""
    found = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST].strip("-")
    return f" (did you mean `{found}`?)" if _NAME.fullmatch(found) else ""
