"""What every page says at its end: the config, the data and the versions behind its numbers."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine.version import __version__


@dataclass(frozen=True)
class About:
    """Where the numbers of a page come from.

    Attributes:
        config: the config or the settings, in words; empty where no config was used.
        data: each data set or file, in words.
        versions: the version of each program by its name.
        notes: how the numbers were computed, one paragraph each.
    """

    config: str = ""
    data: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def about(
    *,
    config: str = "",
    data: Sequence[str] = (),
    packages: Sequence[str] = (),
    notes: Sequence[str] = (),
    versions: Mapping[str, str] | None = None,
) -> About:
    """The end of a page, with the versions of Engine and Python of this process.

    Args:
        config: see :class:`About`.
        data: see :class:`About`.
        packages: distributions whose versions matter too; one that is not installed is left out.
        notes: see :class:`About`.
        versions: what was recorded when the numbers were computed; it is shown instead.
    """
    if versions is None:
        found = {"engine": __version__, "python": platform.python_version()}
        for name in packages:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        versions = found
    return About(config=config, data=tuple(data), versions=dict(versions), notes=tuple(notes))
