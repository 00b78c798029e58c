"""What a rule is, and how one is written; ``check`` runs it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

_HERE = str(Path(__file__).parent)


class Violation(Exception):
    """Raised inside a check: the promise is not kept. See :func:`fault`."""

    def __init__(self, expected: str, found: str, why: str | None) -> None:
        super().__init__(found)
        self.expected, self.found, self.why = expected, found, why


class NotApplicable(Exception):
    """Raised inside a check: this plugin has nothing to check here."""


def fault(expected: str, found: str, why: str | None = None) -> NoReturn:
    """End the check: the promise is not kept.

    Args:
        expected: what the contract asks for, with numbers.
        found: what was there, with numbers, places and names.
        why: in place of the rule's own reason.
    """
    raise Violation(expected, found, why)


@dataclass(frozen=True)
class Rule:
    """A promise of a contract and how to check it.

    Attributes:
        id: its name, the same for all kinds that have it.
        contract: where the promise stands.
        says: a sentence of the docstring there, word for word (a test holds the kit to it).
        why: why it matters to who uses the plugin.
        run: checks it; raises through :func:`fault`.
        needs: ids of the rules that must hold before this one can be checked.
    """

    id: str
    contract: str
    says: str
    why: str
    run: Callable[[Any], None]
    needs: tuple[str, ...] = ()


def rule(
    *, contract: str, says: str, why: str, needs: tuple[str, ...] = (), id: str | None = None
) -> Callable[[Callable[[Any], None]], Rule]:
    """Make a function a :class:`Rule`; its name is the id."""

    def make(run: Callable[[Any], None]) -> Rule:
        return Rule(id or run.__name__, contract, says, why, run, needs)

    return make


def describe(error: BaseException) -> str:
    """An error in one or two lines: what, and the plugin's own line that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    text = f"{type(error).__name__}: {error}".strip()
    if len(text) > 600:
        text = f"{text[:599]}…"
    own = [frame for frame in theirs if not _is_library(frame.filename)] or theirs
    if not own:
        return text
    frame = own[-1]
    return f"{text}\nat {frame.filename}:{frame.lineno}, in {frame.name}: {frame.line or ''}"


def _is_library(name: str) -> bool:
    return "site-packages" in name or "/lib/python" in name or name.startswith("<")
