"""What is wrong in a config and where; all of it is reported at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from engine.errors import ConfigError

SHOWN = 12
"""As many diagnostics are reported one by one; a screen holds no more."""

_LONGEST = 400


@dataclass(frozen=True)
class Place:
    """Where something stands: a file with line and column (from 1), or ``--set 2``."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        if self.line is None:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One diagnostic.

    Attributes:
        place: where it stands.
        path: the setting's dotted path, ``"model.embed_dim"``; empty for the file as a whole.
        what: what was expected, what stands there, the nearest right name.
    """

    place: Place
    path: str
    what: str

    def __str__(self) -> str:
        path = f"{printable(self.path, 120)}: " if self.path else ""
        return f"{printable(str(self.place))}: {path}{printable(self.what)}"


class Refused(Exception):
    """A diagnostic after which nothing more can be read. Never leaves this package."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(str(diagnostic))
        self.diagnostic = diagnostic


def refuse(place: Place, what: str, path: str = "") -> NoReturn:
    """Stop reading.

    Raises:
        Refused: always.
    """
    raise Refused(Diagnostic(place, path, what))


def printable(text: str, longest: int = _LONGEST) -> str:
    """One line of printable characters: a config must not write escape codes to a terminal."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def dotted(parts: Iterable[str | int]) -> str:
    """``("data", "evaluate", 0)`` -> ``"data.evaluate.0"``."""
    return ".".join(str(part) for part in parts)


def config_error(diagnostics: Sequence[Diagnostic], files: Sequence[str]) -> ConfigError:
    """One error of all diagnostics.

    Args:
        diagnostics: at least one.
        files: the files in the order in which to tell of them; what is not among them (overrides)
            comes last.
    """
    rank = {file: i for i, file in enumerate(files)}
    found = sorted(
        dict.fromkeys(diagnostics),
        key=lambda m: (
            rank.get(m.place.file, len(rank)),
            m.place.file,
            m.place.line or 0,
            m.place.column or 0,
            m.path,
        ),
    )
    if len(found) == 1:
        return ConfigError(str(found[0]))
    lines = [f"{len(found)} diagnostics", *(f"  {diagnostic}" for diagnostic in found[:SHOWN])]
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN} more")
    return ConfigError("\n".join(lines))
