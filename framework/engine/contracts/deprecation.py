"""What will go away says so once, with what to use instead. Nothing here imports torch.

Three things can be deprecated:

- a plugin: ``Plugin(..., deprecated="use `new_name` instead")``; a config that uses it gets the
  warning,
- a setting: pydantic's ``Field(..., deprecated="use `width` instead")``; a config that
  gives it gets the warning,
- a public name of a module: ``__getattr__ = renamed(__name__, {"old": "engine.core.model.new"})``.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

_warned: set[str] = set()


class EngineDeprecation(FutureWarning):
    """Something that a later version will not have. Shown to users, not to developers alone."""


def warn_once(what: str, instead: str, *, stacklevel: int = 2) -> None:
    """Warn, the first time in this process.

    Args:
        what: what is deprecated, ``"text_encoder `old`"``.
        instead: what to do, ``"use `new` instead"``.
        stacklevel: whose line is shown, as in ``warnings.warn``: by default that of who called the
            function that calls this.
    """
    text = f"{what} is deprecated: {instead}"
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, EngineDeprecation, stacklevel=stacklevel + 1)


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` that finds old names under new ones, and says so.

    Args:
        module: the module's ``__name__``.
        names: old name -> ``"package.module.new_name"``.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, attribute = names[name].rpartition(".")
        warn_once(f"{module}.{name}", f"use {names[name]} instead")
        return getattr(importlib.import_module(home), attribute)

    return find
